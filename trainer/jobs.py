"""Celery entry points of the model side: wake-ups that may be lost or repeated."""

from celery import shared_task

from tasks.services.pruning import prune_by_the_clock
from trainer.services import coverage, deliveries, eval_running, firings, pruning, supervision, telling


@shared_task(name="trainer.jobs.supervise")
def supervise() -> None:
    supervision.supervise()
    for build_id in supervision.pending_bases():
        take_in_base.apply_async((build_id,), expires=5)


@shared_task(name="trainer.jobs.take_in_base")
def take_in_base(build_id: int) -> None:
    supervision.take_in_base(build_id)


@shared_task(name="trainer.jobs.fire_schedules")
def fire_schedules() -> None:
    firings.fire_due()


@shared_task(name="trainer.jobs.deliver")
def deliver() -> None:
    telling.tell()
    deliveries.deliver()


@shared_task(name="trainer.jobs.run_eval")
def run_eval(run_id: int) -> None:
    eval_running.run_eval(run_id)


@shared_task(name="trainer.jobs.sweep_evals")
def sweep_evals() -> None:
    eval_running.sweep()


@shared_task(name="trainer.jobs.count_domains")
def count_domains() -> None:
    coverage.keep()


@shared_task(name="trainer.jobs.prune")
def prune() -> None:
    prune_by_the_clock(pruning.rules())
