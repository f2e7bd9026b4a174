"""`ServerSpec`: what a server is to serve, and how; its command line and environment."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from lmpipe.errors import ConfigError
from lmpipe.foundation.checks import check_fields, check_numbers

KEY_VARIABLE = "VLLM_API_KEY"

# The ranks that vLLM has kernels for.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

# Flags that have a field here, which other parts of lmpipe read.
_OWN_FLAGS = {
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
    """The LoRA adapters that a server has room for.

    Args:
        rank: the highest rank of an adapter; one of 1, 8, 16, 32, 64, 128, 256, 320, 512.
        count: how many adapters can answer at a time; more can be loaded.

    Raises:
        ConfigError: if vLLM has no such rank, or the count is not above 0.
    """

    rank: int = 16
    count: int = 4

    def __post_init__(self) -> None:
        if self.rank not in RANKS:
            known = ", ".join(map(str, RANKS))
            raise ConfigError(
                f"AdapterLimits(rank={self.rank}): vLLM takes the ranks {known}; the next one up "
                "serves an adapter of this rank"
            )
        if self.count < 1:
            raise ConfigError(f"AdapterLimits(count={self.count}): must be 1 or more")

    @classmethod
    def holding(cls, *, rank: int, count: int) -> AdapterLimits:
        """Room for adapters of any rank up to one.

        Raises:
            ConfigError: if vLLM serves no adapter of that rank.
        """
        fitting = (known for known in RANKS if known >= rank)
        return cls(rank=next(fitting, rank), count=count)

    def widened(self, other: AdapterLimits) -> AdapterLimits:
        """Room for what either has room for."""
        return AdapterLimits(rank=max(self.rank, other.rank), count=max(self.count, other.count))


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """One vLLM server: what it serves, where, and with what.

    Args:
        model: a model's folder, or its hub name.
        name: what requests call it; the model by default.
        host: the address it listens at. Others than this machine's own let anyone in who has
            the key.
        port: 0 for a free one.
        api_key: what it wants to be shown; handed over in the environment, never shown or logged.
            By default $VLLM_API_KEY, as for vLLM itself.
        devices: the GPUs it sees, by number; all of them by default.
        memory: the share of each GPU's memory that it takes, above 0 and up to 1.
        tensor_parallel: GPUs that share one copy of the model.
        data_parallel: copies of the model.
        context: the longest prompt and reply together, in tokens; the model's own by default.
        adapters: room for LoRA adapters that are loaded while it runs.
        args: further flags of vLLM, as they are.
        env: further environment variables for it.
        command: how vLLM is called, up to its flags; found by default.

    Raises:
        ConfigError: if a value is out of range, or a flag in `args` has a field of its own.
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "env", MappingProxyType(dict(self.env)))
        if not self.model:
            raise ConfigError("a ServerSpec needs a model: a folder or a hub name")
        self._check_numbers()
        for argument in self.args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag in _OWN_FLAGS:
                raise ConfigError(
                    f"ServerSpec({self.model!r}): {flag} does not belong in args: say it with "
                    f"{_OWN_FLAGS[flag]}="
                )

    def _check_numbers(self) -> None:
        what = f"ServerSpec({self.model!r})"
        check_fields(self, "port", minimum=0, maximum=65535, integer=True)
        check_fields(self, "memory", above=0, maximum=1, optional=True)
        check_fields(self, "tensor_parallel", "data_parallel", minimum=1, integer=True)
        check_fields(self, "context", minimum=1, integer=True, optional=True)
        if self.devices:
            check_numbers("ServerSpec", "devices", self.devices, minimum=0, integer=True)
        if self.devices and len(self.devices) < self.device_count:
            raise ConfigError(
                f"{what}: tensor_parallel={self.tensor_parallel} and "
                f"data_parallel={self.data_parallel} need {self.device_count} GPUs, devices names "
                f"{len(self.devices)}"
            )

    def of_weights(self, folder: Path, name: str) -> ServerSpec:
        """The same for other weights of the same model, at a port of its own."""
        return replace(self, model=str(folder.absolute()), name=name, port=0, adapters=None)

    @property
    def served_name(self) -> str:
        """What requests call the model."""
        return self.name or self.model

    @property
    def device_count(self) -> int:
        """How many devices it needs."""
        return self.tensor_parallel * self.data_parallel

    @property
    def reached_at(self) -> str:
        """The host that this machine reaches it by, as it stands in an address."""
        everywhere = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
        host = everywhere.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def argv(self, command: Sequence[str], port: int) -> list[str]:
        """The whole command line. It holds no secret.

        Args:
            command: how vLLM is called, up to its flags.
            port: the port to listen at.
        """
        # `vllm serve` takes the model first; the module takes it as a flag.
        folder = os.path.expanduser(self.model)
        model = [folder] if command[-1] == "serve" else ["--model", folder]
        argv = [*command, *model, "--served-model-name", self.served_name]
        argv += ["--host", self.host, "--port", str(port)]
        # What a request leaves out must not come from the model's folder: no cache key knows it.
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
        """The environment to start it in.

        Args:
            base: the caller's own. What it says of the caller's Python is left out: the server
                may run on another one.
        """
        own = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "__PYVENV_LAUNCHER__")
        environment = {name: value for name, value in base.items() if name not in own}
        environment["PYTHONUNBUFFERED"] = "1"  # its last words are wanted when it dies
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self.devices))
        if self.adapters is not None:
            environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
        environment.update(self.env)
        if self.api_key is not None:
            environment[KEY_VARIABLE] = self.api_key
        return environment
