"""`Provisioning`: the servers and trainings of a compile, while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from lmpipe.compiling.check_training import check_student
from lmpipe.compiling.recipe import PreparedRecipe
from lmpipe.compiling.run_weights import adapters_of
from lmpipe.compiling.server_specs import server_specs, with_local_model
from lmpipe.lm.runtime import Runtime
from lmpipe.serving.fleet import Fleet
from lmpipe.serving.served import ServedLMs
from lmpipe.serving.server import attach
from lmpipe.serving.spec import ServerSpec
from lmpipe.settings import current_settings, using
from lmpipe.weights.local_trainer import LocalTrainer
from lmpipe.weights.training_store import RecordStore, TrainingStore
from lmpipe.weights.trainings import Trainings


class Provisioning:
    """Manages the servers and trainings of a compile inside an `async with` block.

    Inside the block, LM calls use a runtime that starts servers when they are needed; at its end
    the servers are stopped.

    Args:
        prepared: the compile.
        note: called with events of the servers, for the run's event log.

    Attributes:
        trainings: trains weights; None if the compile needs no servers and no weights.
    """

    def __init__(
        self, prepared: PreparedRecipe, note: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self.trainings: Trainings | None = None
        self._prepared = prepared
        self._note = note
        self._cleanup = AsyncExitStack()

    async def __aenter__(self) -> Self:
        prepared = self._prepared
        specs = server_specs(prepared)
        if specs or prepared.trainings or adapters_of(prepared.recipe.program.state()):
            trainer = prepared.recipe.trainer or LocalTrainer()
            if prepared.trainings:
                full = any(settings.full for settings in prepared.trainings)
                check_student(prepared.lms.student, trainer, full=full, served=specs)
            base_name = self._declared_base(specs)
            specs = await asyncio.to_thread(with_local_model, specs)
            served = self._serve(specs)
            store = self._use_runtime(served).store
            self.trainings = Trainings(
                trainer=trainer,
                base=prepared.lms.student,
                base_name=base_name,
                find_base_model=lambda: self._find_base_model(specs),
                servers=served,
                store=TrainingStore(recording=store if isinstance(store, RecordStore) else None),
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._cleanup.aclose()

    def _serve(self, specs: Mapping[str, ServerSpec]) -> ServedLMs:
        """Make the servers of the compile; none starts before it is needed."""
        served = ServedLMs(Fleet(specs, on_progress=self._on_progress))
        known = current_settings().runtime.servers
        if isinstance(known, ServedLMs):
            served.add_known(known)  # the program may have been loaded with weights
        return served

    def _use_runtime(self, served: ServedLMs) -> Runtime:
        """Use the current runtime with other servers, until the block ends."""
        settings = current_settings()
        runtime = settings.runtime.with_servers(served)
        self._cleanup.push_async_callback(runtime.aclose)
        self._cleanup.enter_context(using(lm=settings.lm, runtime=runtime))
        return runtime

    def _on_progress(self, message: str) -> None:
        self._note("server", {"message": message})

    def _declared_base(self, specs: Mapping[str, ServerSpec]) -> str:
        """Return the recipe's name of the student's weights; empty if it is the LM's name."""
        student = self._prepared.lms.student
        spec = specs.get(student.model)
        name = self._prepared.recipe.base_model or (spec.model if spec else student.name)
        return "" if name == student.name else name

    async def _find_base_model(self, specs: Mapping[str, ServerSpec]) -> str:
        """Return the folder or hub name of the student's weights."""
        student = self._prepared.lms.student
        if (declared := self._prepared.recipe.base_model) is not None:
            return declared
        if (spec := specs.get(student.model)) is not None:
            return spec.model
        if student.base_url is None or student.provider != "vllm":
            return student.name
        async with await attach(student.base_url, api_key=student.api_key) as server:
            models = await server.models()
        roots = [model.root for model in models if model.id == student.name and model.root]
        return roots[0] if roots else student.name
