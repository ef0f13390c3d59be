"""Under what a contributed dataset may be used: the SPDX ids that we accept, and the consent of its contributor.

Accepted are licences that allow training a model and giving it to others. Whoever changes CONSENT_TEXT raises
CONSENT_VERSION: what was agreed to is stored with the dataset.
"""

from tasks.errors import Invalid

CONSENT_VERSION = "2026-1"
CONSENT_TEXT = (
    "I may share these tasks under the licence named. They may train shared models, whose weights others receive. "
    "I can withdraw them at any time: they then leave every future mixture, while models already trained on them stay "
    "and say so."
)
LICENCES = (
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "C-UDA-1.0",
    "CC-BY-2.0",
    "CC-BY-2.5",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC-PDDC",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0",
    "ECL-2.0",
    "EUPL-1.2",
    "GFDL-1.3-or-later",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "ODC-By-1.0",
    "ODbL-1.0",
    "PDDL-1.0",
    "Unlicense",
    "Zlib",
)
_BY_LOWER = {licence.lower(): licence for licence in LICENCES}


def check(licence: str, consent_version: str) -> str:
    """The licence as SPDX spells it, for data that its contributor shares. Raises Invalid otherwise."""
    found = _BY_LOWER.get(licence.strip().lower())
    if found is None:
        said = (
            f"'{licence}' is not a licence that contributed data may have"
            if licence
            else "Contributing needs a licence"
        )
        raise Invalid(
            "unknown_licence",
            f"{said}: name one by its SPDX id, for example CC-BY-4.0.",
            "licence",
        )
    if consent_version != CONSENT_VERSION:
        raise Invalid(
            "consent_missing",
            f"Contributing needs your consent to this text of version {CONSENT_VERSION}: {CONSENT_TEXT}",
            "consent_version",
        )
    return found
