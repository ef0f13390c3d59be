from tests.portal_client import portal, seeded

__all__ = ["portal", "seeded"]
