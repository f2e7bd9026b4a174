"""Azure's form of OpenAI's API: deployments in the path, another key header, other errors.

Source: learn.microsoft.com/azure/ai-services/openai/reference.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from helpers.provider_servers.model import Answer, Question
from helpers.provider_servers.openai_chat import ChatServer
from helpers.provider_servers.server import Body, RefusedError


class AzureServer(ChatServer):
    """`POST /openai/deployments/<deployment>/chat/completions?api-version=…`.

    A deployment has the name of its model.
    """

    base_path = ""

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/openai/deployments/{deployment}/chat/completions", self.chat)

    def check_key(self, headers: Mapping[str, str]) -> None:
        if headers.get("api-key") != self.key:
            # learn.microsoft.com/azure/ai-services/authentication
            message = (
                "Access denied due to invalid subscription key or wrong API endpoint. Make sure to "
                "provide a valid key for an active subscription and use a correct regional API "
                "endpoint for your resource."
            )
            raise RefusedError(401, {"error": {"code": "401", "message": message}})

    def say(self, question: Question, *, thinks: bool, limit: int | None) -> Answer:
        said = super().say(question, thinks=thinks, limit=limit)
        if said.declined:
            # github.com/vibrantlabsai/ragas/issues/649: a filter looks at the prompt first
            message = (
                "The response was filtered due to the prompt triggering Azure OpenAI's content "
                "management policy. Please modify your prompt and retry."
            )
            about = {"type": None, "param": "prompt", "code": "content_filter", "status": 400}
            inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}
            raise RefusedError(400, {"error": {"message": message, **about, "innererror": inner}})
        return said

    def model_of(self, request: web.Request, body: Body) -> str:
        if "api-version" not in request.query:
            raise RefusedError(404, {"error": {"code": "404", "message": "Resource not found"}})
        deployment = request.match_info["deployment"]
        if deployment.startswith("no-"):
            # litellm/litellm_core_utils/exception_mapping_utils.py names the code
            message = (
                "The API deployment for this resource does not exist. If you created the "
                "deployment within the last 5 minutes, please wait a moment and try again."
            )
            raise RefusedError(404, {"error": {"code": "DeploymentNotFound", "message": message}})
        return deployment
