"""`ServerSpec`: describes a vLLM server; gives its command line and environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lmpipe.errors import ConfigError
from lmpipe.foundation.checks import check_fields, check_numbers
from lmpipe.foundation.child_environment import child_environment
from lmpipe.lm.http.address import is_loopback

KEY_VARIABLE = "VLLM_API_KEY"

_STORE_VARIABLES = r"(AWS|GOOGLE|AZURE_STORAGE|RUNAI)_.*"

# The values of vLLM's --max-lora-rank. An adapter of a rank in between uses the memory of the
# next one.
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

# vLLM flags that have a field of ServerSpec, which other parts of lmpipe read.
_FIELD_OF_FLAG = {
    "--model": "model",
    "--served-model-name": "name",
    "--host": "host",
    "--port": "port",
    "--api-key": "api_key",
    "--gpu-memory-utilization": "memory",
    "--tensor-parallel-size": "tensor_parallel",
    "-tp": "tensor_parallel",
    "--data-parallel-size": "data_parallel",
    "-dp": "data_parallel",
    "--max-model-len": "context",
    "--enable-lora": "adapters",
    "--max-lora-rank": "adapters",
    "--max-loras": "adapters",
}


@dataclass(frozen=True, kw_only=True)
class AdapterLimits:
    """The LoRA adapters that a server reserves memory for.

    Args:
        rank: the maximum rank of an adapter; one of 1, 8, 16, 32, 64, 128, 256, 320, 512.
        count: how many adapters can be used in one batch, 1 or more; more can be loaded.

    Raises:
        ConfigError: if vLLM does not support the rank, or the count is below 1.
    """

    rank: int = 16
    count: int = 4

    def __post_init__(self) -> None:
        check_fields(self, "rank", "count", minimum=1, integer=True)
        if self.rank not in LORA_RANKS:
            known = ", ".join(map(str, LORA_RANKS))
            raise ConfigError(
                f"AdapterLimits(rank={self.rank}): vLLM accepts the ranks {known}; use the next "
                "higher one"
            )

    @classmethod
    def holding(cls, *, rank: int, count: int) -> AdapterLimits:
        """Return limits that allow adapters of any rank up to `rank`; see the class for errors."""
        fitting = (known for known in LORA_RANKS if known >= rank)
        return cls(rank=next(fitting, rank), count=count)

    def widened(self, other: AdapterLimits) -> AdapterLimits:
        """Return limits that allow everything that either of the two allows."""
        return AdapterLimits(rank=max(self.rank, other.rank), count=max(self.count, other.count))


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """One vLLM server: its model, address and resources.

    Args:
        model: a model's folder or hub name.
        name: the model name in requests; `model` by default.
        host: the address to listen on. With an address other than loopback, anyone who can reach
            this machine and has the key can use the server.
        port: the port to listen on; 0 for a free one.
        api_key: the API key that the server requires; passed in the environment, never shown or
            logged. By default $VLLM_API_KEY, as in vLLM itself.
        devices: the numbers of the GPUs that it may use; all by default.
        memory: the share of each GPU's memory that it uses, above 0 and up to 1.
        tensor_parallel: the number of GPUs that share one copy of the model, 1 or more.
        data_parallel: the number of copies of the model, 1 or more.
        context: the maximum length of prompt and reply together, in tokens; by default the
            model's own.
        adapters: limits for LoRA adapters that are loaded at run time; None for no adapters.
        args: further vLLM flags, passed as they are.
        env: further environment variables of the server. It also gets those of this process,
            except keys and passwords of services that it does not use.
        command: the command that runs vLLM, up to its flags; found by default.

    Raises:
        ConfigError: if a value is out of range, or a flag in `args` has its own field.
    """

    model: str
    name: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = field(default=None, repr=False)
    devices: tuple[int, ...] = ()
    memory: float | None = None
    tensor_parallel: int = 1
    data_parallel: int = 1
    context: int | None = None
    adapters: AdapterLimits | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    command: tuple[str, ...] | None = None

    def __reduce__(self) -> tuple[Any, ...]:  # a read-only mapping cannot be pickled
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return partial(ServerSpec, **{**values, "env": dict(self.env)}), ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", MappingProxyType(dict(self.env)))
        if not self.model:
            raise ConfigError("ServerSpec needs a model: give a folder or a hub name")
        check_fields(self, "port", minimum=0, maximum=65535, integer=True)
        check_fields(self, "memory", above=0, maximum=1, optional=True)
        check_fields(self, "tensor_parallel", "data_parallel", minimum=1, integer=True)
        check_fields(self, "context", minimum=1, integer=True, optional=True)
        if self.devices:
            self._check_devices()
        for argument in self.args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag == "--hf-token":
                raise ConfigError(
                    f"ServerSpec({self.model!r}): --hf-token cannot be in args, which other users "
                    'of this machine can read: use env={"HF_TOKEN": …}'
                )
            if flag in _FIELD_OF_FLAG:
                raise ConfigError(
                    f"ServerSpec({self.model!r}): {flag} cannot be in args: use "
                    f"{_FIELD_OF_FLAG[flag]}= instead"
                )

    def _check_devices(self) -> None:
        check_numbers("ServerSpec", "devices", self.devices, minimum=0, integer=True)
        if len(self.devices) < self.device_count:
            raise ConfigError(
                f"ServerSpec({self.model!r}): tensor_parallel={self.tensor_parallel} and "
                f"data_parallel={self.data_parallel} need {self.device_count} GPUs, but "
                f"devices names {len(self.devices)}"
            )

    def of_weights(self, folder: Path, name: str) -> ServerSpec:
        """Return the spec of a server for other weights of the same model, on a free port."""
        return replace(self, model=str(folder.absolute()), name=name, port=0, adapters=None)

    @property
    def served_name(self) -> str:
        """The model name in requests."""
        return self.name or self.model

    @property
    def device_count(self) -> int:
        """The number of devices that the server needs."""
        return self.tensor_parallel * self.data_parallel

    @property
    def url_host(self) -> str:
        """The host to use in URLs on this machine."""
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = everywhere.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def argv(self, command: Sequence[str], port: int) -> list[str]:
        """Return the whole command line, which holds no secret.

        `command` runs vLLM, up to its flags; `port` is the port to listen on.
        """
        # `vllm serve` takes the model as its first argument; the module takes it as a flag.
        folder = os.path.expanduser(self.model)
        model = [folder] if command[-1] == "serve" else ["--model", folder]
        argv = [*command, *model, "--served-model-name", self.served_name]
        argv += ["--host", self.host, "--port", str(port)]
        # Sampling defaults in the model's folder would change replies, but are not in cache keys.
        argv += ["--generation-config", "vllm", "--enable-prompt-tokens-details"]
        if self.memory is not None:
            argv += ["--gpu-memory-utilization", f"{self.memory:g}"]
        if self.tensor_parallel > 1:
            argv += ["--tensor-parallel-size", str(self.tensor_parallel)]
        if self.data_parallel > 1:
            argv += ["--data-parallel-size", str(self.data_parallel)]
        if self.context is not None:
            argv += ["--max-model-len", str(self.context)]
        if self.adapters is not None:
            argv += ["--enable-lora", "--max-lora-rank", str(self.adapters.rank)]
            argv += ["--max-loras", str(self.adapters.count)]
        return [*argv, *self.args]

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the caller's environment `base` with the variables of the server.

        Variables that configure the caller's Python are dropped, because the server may run on
        another, and so are secrets that are not for the server.
        """
        dropped = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__")
        # A model may be in an object store, such as s3://bucket/model.
        keep = _STORE_VARIABLES if "://" in self.model else ""
        environment = child_environment(base, keep=keep)
        environment = {name: value for name, value in environment.items() if name not in dropped}
        environment["PYTHONUNBUFFERED"] = "1"  # or its last lines are lost when it dies
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self.devices))
        if self.adapters is not None:
            environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        environment.update(self.env)
        if self.api_key is not None:
            environment[KEY_VARIABLE] = self.api_key
        return environment
