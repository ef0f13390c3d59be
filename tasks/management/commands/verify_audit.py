"""manage.py verify_audit: walk the hash chain of events."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from tasks.models import Event, EventSeal, events


class Command(BaseCommand):
    help = "Check the hash chain of events; exits 1 where it breaks."

    def handle(self, *args: Any, **options: Any) -> None:
        held, broken = events.verify()
        if broken is not None:
            self.stderr.write(f"The chain breaks at event {broken}; the {held:,} links before it hold.")
            sys.exit(1)
        head = EventSeal.objects.order_by("-id").values_list("digest", flat=True).first() or "none"
        unsealed = Event.objects.filter(seal__isnull=True).count()
        self.stdout.write(f"The chain holds: {held:,} links, {unsealed:,} events not yet sealed, head {head}.")
