from tests import world
from tests.cast import Person


def test_a_private_dataset_is_made_in_ones_only_team(contributor: Person):
    reply = contributor.api.post("/api/v1/datasets", {"name": "Sums"}, format="json")

    assert (reply.status_code, reply.json()["ref"], reply.json()["visibility"]) == (201, "carla-team/sums", "private")


def test_a_contributed_dataset_without_a_licence_is_refused(contributor: Person):
    reply = contributor.api.post("/api/v1/datasets", {"name": "Gifts", "visibility": "contributed"}, format="json")

    assert (reply.status_code, reply.json()["param"]) == (400, "licence")


def test_a_default_grader_is_set_and_shown(contributor: Person):
    dataset = world.private_dataset(contributor)

    reply = contributor.api.put(f"/api/v1/datasets/{dataset.pk}/grader", {"grader": world.GRADER}, format="json")

    assert reply.json() == {"waiting": 0}
    assert contributor.api.get(f"/api/v1/datasets/{dataset.pk}").json()["default_grader"]["type"] == "number"


def test_an_unknown_grader_is_refused(contributor: Person):
    dataset = world.private_dataset(contributor)

    reply = contributor.api.put(f"/api/v1/datasets/{dataset.pk}/grader", {"grader": {"type": "x"}}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "unknown_grader")


def test_counts_are_by_state_and_split(contributor: Person):
    dataset = world.private_dataset(contributor)
    world.imported(dataset, world.rows(5), contributor)

    counts = contributor.api.get(f"/api/v1/datasets/{dataset.pk}/counts").json()

    assert (sum(counts["states"].values()), sum(counts["splits"].values())) == (5, 5)


def test_the_same_content_freezes_into_one_version(contributor: Person):
    dataset = world.private_dataset(contributor)
    world.imported(dataset, world.rows(5), contributor)  # a private space approves by itself

    frozen = [contributor.api.post(f"/api/v1/datasets/{dataset.pk}/freeze", {}, format="json").json() for _ in range(2)]

    assert frozen[0] == frozen[1]
    assert contributor.api.get(f"/api/v1/datasets/{dataset.pk}/versions").json()["results"] == frozen[:1]


def test_an_unapproved_dataset_does_not_freeze(contributor: Person):
    dataset = world.private_dataset(contributor)

    reply = contributor.api.post(f"/api/v1/datasets/{dataset.pk}/freeze", {}, format="json")

    assert (reply.status_code, reply.json()["code"]) == (400, "nothing_approved")


def test_datasets_are_filtered_by_visibility(contributor: Person):
    world.private_dataset(contributor)
    world.contributed_dataset(contributor)

    shown = contributor.api.get("/api/v1/datasets?visibility=contributed").json()["results"]

    assert [dataset["slug"] for dataset in shown] == ["gifts"]
