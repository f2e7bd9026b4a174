"""A server of the Model Context Protocol: each program is a tool."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp_types import CallToolResult, ListToolsResult, TextContent, Tool
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp

from lmpipe.serve.chat_messages import content_of
from lmpipe.serve.client_gone import while_connected
from lmpipe.serve.deployment import Deployment
from lmpipe.serve.problems import Problem
from lmpipe.serve.requests import UNIT_HEADER, find_deployment, headers_of, request_id
from lmpipe.serve.running import run
from lmpipe.serve.service import Service


class McpTools:
    """Programs as tools, over streamable HTTP.

    Attributes:
        sessions: has to `run` while requests are answered.
        app: answers the requests.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        server: Any = Server(
            "lmpipe",
            version=version("lmpipe"),
            on_list_tools=self._list,
            on_call_tool=self._call,
        )
        # Without sessions, so that several servers can stand behind one address.
        self.sessions = StreamableHTTPSessionManager(
            server,
            stateless=True,
            json_response=True,
            max_request_body_size=service.options.max_body,
        )
        self.app: ASGIApp = StreamableHTTPASGIApp(self.sessions)

    async def _list(self, context: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(item) for item in self._service.programs])

    async def _call(self, context: Any, params: Any) -> CallToolResult:
        request: Request = context.request  # over HTTP there always is one
        headers, name = headers_of(request), request_id(request)
        about = {"lmpipe/request": name}
        try:
            deployment = find_deployment(self._service.programs, params.name)
            served = deployment.choose(headers.get(UNIT_HEADER) or name)
            about["lmpipe/run"] = served.run
            limits = self._service.limits(headers)
            inputs = served.interface.read(params.arguments or {})
            with self._service.slots.take(), while_connected(request.receive):
                answer = await run(served, inputs, limits)
            outputs = served.interface.write(answer.result)
            self._service.keep(name, served, inputs, outputs)
        except ClientDisconnect:
            return CallToolResult(content=[], is_error=True)  # nobody is there to be told
        except Exception as error:  # noqa: BLE001 - a program may raise anything
            problem = self._service.errors.problem_of(error, name)
            return CallToolResult(content=[_text(_told(problem))], is_error=True, _meta=about)
        text, _ = content_of(served.interface, outputs)
        return CallToolResult(content=[_text(text)], structured_content=outputs, _meta=about)


def _tool(deployment: Deployment) -> Tool:
    interface = deployment.interface
    return Tool(
        name=deployment.name,
        description=interface.about or None,
        input_schema=interface.input_schema().whole(),
        output_schema=interface.output_schema().whole(),
    )


def _text(text: str) -> TextContent:
    return TextContent(type="text", text=text)


def _told(problem: Problem) -> str:
    """Write a problem for an LM that called the tool, which may do better."""
    lines = [f"{problem.detail}: {problem.remedy}"]
    lines += [f"- {item.field} {item.detail}: {item.remedy}" for item in problem.fields]
    return "\n".join(lines)
