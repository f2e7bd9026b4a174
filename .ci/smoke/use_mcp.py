"""Tools of an MCP server, which runs as a process."""

import sys
from pathlib import Path

import lmpipe

SERVER = '''
from mcp.server.mcpserver import MCPServer
server = MCPServer("sums")

@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b

server.run()
'''
Path("server.py").write_text(SERVER)
with lmpipe.mcp_tools(command=[sys.executable, "server.py"]) as tools:
    assert [tool.name for tool in tools] == ["add"]
