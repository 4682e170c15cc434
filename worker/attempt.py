"""One attempt at a job, in the child: read, drive the experiment, publish, and write the row's end.

A crash at any point leaves either a finished job with its model, or a running one that is resumed from its
last checkpoint and ends the same: model and end are one transaction, written when the files were read back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from autoencoders import build, bundle
from autoencoders.alignment import Alignment
from autoencoders.bundle import TrainedModel
from autoencoders.data.dataset import Dataset
from autoencoders.events import Checkpoint, Diagnosed, Epoch, Event, Finished, Initialised, Step, Warned
from autoencoders.experiment import Experiment
from autoencoders.spec import Spec
from autoencoders.study.settle import time_left
from autoencoders.training.batches import WINDOW_BYTES
from store import logs
from store.errors import Fenced, Unavailable
from worker import embed, exits, outcome, report
from worker.checkpoints import Checkpoints, Found
from worker.devices import check_room, thread_count, torch_device
from worker.exits import Left
from worker.holding import Holding
from worker.pausing import Paused, Rung
from worker.problems import problem_of
from worker.settling import Settled, settled
from worker.upload import keep_folder

log = logs.get(__name__)


class JobKindUnknown(Exception):
    """This worker has no way to do a job of this kind."""


class Attempt:
    """Everything that one attempt holds while it runs."""

    def __init__(self, held: Holding) -> None:
        self._artifacts, self._settings, self._row = held.artifacts, held.settings, held.row
        self._record, self._publisher = held.record, held.publisher
        self._wishes, self._scratch = held.wishes, held.scratch
        self._held = held
        self._checkpoints = Checkpoints(held.artifacts, held.row.id, held.row.token, held.scratch)
        self._rung = Rung(held.row)
        self._training = False
        self._settled: Settled | None = None

    def run(self) -> int:
        """The attempt from its first read to the row's end."""
        try:
            self._drive()
        except Fenced:
            return exits.FENCED
        except Left:
            return exits.LEFT
        except Paused as paused:
            return self._pause(paused)
        except (Unavailable, ConnectionError, TimeoutError) as error:
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            return exits.UNREACHABLE
        except Exception as error:
            return self._fail(error)
        return exits.FINISHED

    def _drive(self) -> None:
        match self._row.kind:
            case "train":
                self._train_a_model()
            case "embed":
                embed.Embedding(self._held).run()
            case kind:
                raise JobKindUnknown(f"this worker does not know jobs of the kind {kind!r}")

    def _train_a_model(self) -> None:
        self._publisher.enter("reading the dataset")
        dataset = Dataset.open(self._record.dataset())
        spec = read_spec(self._row.spec).resolve(dataset.facts)
        spec.check(dataset.facts)
        device = torch_device(self._row.device)
        needed = build.estimate(spec, dataset.facts, window_bytes=WINDOW_BYTES).memory_bytes
        check_room(needed, device, self._settings.memory_limit_bytes)
        found = self._checkpoints.newest()
        self._settled = settled(
            self._held,
            spec,
            dataset,
            device=device,
            threads=thread_count(self._settings.threads),
            take=self._take,
        )
        spec = self._settled.spec
        self._rung.settle(self._settled)
        if self._row.study_id is not None and self._settled.pretraining is not None:
            self._publisher.note(pretraining=self._settled.pretraining)
        experiment = self._experiment(spec, dataset, device, found)
        self._record.note_baselines(experiment.baselines)
        earlier = outcome.earlier_model(self._row.spec, spec, dataset, self._record.bundle)
        finished = self._train(experiment, found)
        self._publish(experiment, dataset, finished, device, earlier)

    def _experiment(self, spec: Spec, dataset: Dataset, device: str, found: Found | None) -> Experiment:
        threads = thread_count(self._settings.threads)
        if found is not None and device == "cpu":
            # Sums split over another number of threads differ in their last bits.
            threads = found.threads
        experiment = Experiment(
            spec,
            dataset,
            device=device,
            threads=threads,
            earlier=self._record.bundle,
            checkpoint_seconds=self._settings.checkpoint_seconds,
            rehearse=self._row.study_id is None,  # what becomes of a study's jobs will be seen
            budget_seconds=self._seconds_left(),
        )
        self._wishes.told = lambda: self._pass_on(experiment)
        self._wishes.told()
        if self._wishes.leave:
            raise Left
        return experiment

    def _seconds_left(self) -> float | None:
        """What choosing by trying has left of a budget in seconds."""
        budget = (self._row.study_place or {}).get("budget_seconds")
        return time_left(budget, 0.0 if self._settled is None else self._settled.seconds)

    def _pass_on(self, experiment: Experiment) -> None:
        if self._wishes.leave:
            experiment.checkpoint()
        elif self._wishes.stop:
            experiment.stop("stopped")

    def _train(self, experiment: Experiment, found: Found | None) -> Finished:
        if found is None:
            self._publisher.enter("initialising")
        elif self._rung.was_due(found.state.progress):
            raise Paused(found.state.progress)
        else:
            self._publisher.enter(f"going on from step {found.place.step}")
        began = time.monotonic()
        finished = None
        for event in experiment.run(found.state if found is not None else None):
            if isinstance(event, Initialised):
                self._rung.init_seconds = time.monotonic() - began
            self._take(event)
            if isinstance(event, Epoch) and self._rung.is_due(event):
                experiment.checkpoint()
            if isinstance(event, Finished):
                finished = event
        if finished is None:
            raise RuntimeError("the experiment ended without saying how")
        return finished

    def _take(self, event: Event) -> None:
        if isinstance(event, Checkpoint):
            self._keep(event)
            return
        if isinstance(event, Diagnosed):
            self._tell_verdict(event)
            return
        if isinstance(event, Step | Epoch) and not self._training:
            self._training = True
            self._publisher.enter("training")
            if self._row.study_id is not None:
                self._publisher.note(init_seconds=round(self._rung.init_seconds, 3))
        self._publisher.put(event)
        # There is nothing to keep of an initialisation: the next attempt begins it anew.
        if isinstance(event, Initialised) and self._wishes.leave:
            raise Left

    def _tell_verdict(self, event: Diagnosed) -> None:
        """Publish the diagnosis, once in a job's life: an attempt that began anew would only say it again."""
        if self._row.token > 1 and any(kind == "diagnosis" for _, kind, _, _ in self._record.events()):
            return
        self._publisher.put(event)
        warning = report.warning_of(event.diagnosis)
        if warning is not None:
            self._publisher.put(Warned(message=warning))

    def _keep(self, event: Checkpoint) -> None:
        """Keep a checkpoint, unless somebody else has the job; a full disk costs it, not the job."""
        self._flush()
        try:
            self._checkpoints.save(event)
        except OSError as error:
            self._publisher.put(Warned(message=f"a checkpoint could not be written: {error}"))
        else:
            self._publisher.put(event)
        if self._rung.reached:
            raise Paused(event.state.progress)
        if self._wishes.leave:
            self._flush()
            raise Left

    def _flush(self) -> None:
        try:
            self._publisher.flush()
        except Unavailable as error:
            log.warning("the database is away; the job goes on", error=str(error))

    def _publish(
        self,
        experiment: Experiment,
        dataset: Dataset,
        finished: Finished,
        device: str,
        earlier: outcome.Earlier | None,
    ) -> None:
        """Files first, read back and compared; then model and row in one transaction."""
        self._publisher.enter("writing the model")
        folder = self._scratch / "bundle"
        manifest, aligned = outcome.write_bundle(
            experiment, folder, earlier=earlier, tell=self._publisher.put
        )
        if self._record.keeps_model:
            keep_folder(self._artifacts, folder, f"models/{self._row.id}")
        self._publisher.enter("writing the report")
        self._flush()
        self._write_report(bundle.load(folder, device), dataset, experiment, aligned)
        lines, progress, metrics = self._publisher.close()
        self._record.succeed(
            lines=lines,
            progress=progress,
            metrics={**(metrics or {}), "error": manifest.metrics.error, "loss": manifest.metrics.loss},
            manifest=manifest.model_dump(mode="json"),
            ended=finished.ended,
        )

    def _write_report(
        self, model: TrainedModel, dataset: Dataset, experiment: Experiment, aligned: Alignment | None
    ) -> None:
        events = list(self._record.events())
        document = report.compose(
            model,
            model.affine,
            dataset,
            error=model.manifest.metrics.error,
            baselines=model.manifest.baselines,
            epochs=[data for _, kind, _, data in events if kind == "epoch"],
            events=events,
            diagnosis={"before": report.diagnosis_in(events), "after": _look(experiment)},
            alignment=None if aligned is None else aligned.to_json(),
            settled=None if self._settled is None else self._settled.evidence,
        )
        path = self._scratch / report.FILE
        path.write_text(report.to_text(document))
        self._artifacts.put_file(path, f"jobs/{self._row.id}/{report.FILE}")

    def _fail(self, error: Exception) -> int:
        log.warning("the job failed", kind=type(error).__name__, error=str(error))
        lines, progress, metrics = self._publisher.close()
        return _written(
            lambda: self._record.fail(problem_of(error), lines=lines, progress=progress, metrics=metrics),
            exits.FINISHED,
        )

    def _pause(self, paused: Paused) -> int:
        lines, progress, metrics = self._publisher.close()
        return _written(
            lambda: self._record.pause(
                lines=lines, progress=progress, metrics={**(metrics or {}), **paused.metrics}
            ),
            exits.PAUSED,
        )


def _written(write: Callable[[], None], status: int) -> int:
    """The exit status once this was written, or that which says why it was not."""
    try:
        write()
    except Fenced:
        return exits.FENCED
    except Unavailable:
        return exits.UNREACHABLE
    return status


def _look(experiment: Experiment) -> dict[str, Any] | None:
    """The trained model's figures; a report without them is better than a training lost."""
    try:
        return experiment.look().to_json()
    except Exception as error:
        log.warning("the trained model could not be diagnosed", error=str(error))
        return None


def read_spec(document: dict[str, Any]) -> Spec:
    """The spec in a job's document, which says more than how to train: dataset, model, labels."""
    known = {*Spec.model_fields, "code"}
    return Spec.model_validate({key: value for key, value in document.items() if key in known})
