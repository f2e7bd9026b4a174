"""Tools that run: functions, MCP servers and LangChain tools that an LM may call."""
