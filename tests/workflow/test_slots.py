from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.launch.launch import Launch
from warmup.workflow.gpus import BYTES_PER_RANK, Need, Slots


def make_launch(tp: int) -> Launch:
    return Launch(model="m", tp=tp, engine="command", python="python3", command=("serve",))


def make_slots(
    gpus: int = 0, *, jobs: int | None = None, cores: int = 4, size: int = 100 << 30
) -> Slots:
    names = [str(i) for i in range(gpus)]
    return Slots(max_jobs=jobs, gpus=names, cores=cores, size_bytes=size)


@settings(deadline=None)  # of one example, on a busy machine
@given(st.lists(st.integers(1, 9), max_size=20), st.integers(0, 8))
def test_no_gpu_is_given_twice(sizes: list[int], gpus: int) -> None:
    slots = make_slots(gpus)
    running: list[tuple[Need, tuple[str, ...]]] = []
    for tp in sizes:
        need = slots.get_need(make_launch(tp))
        while (taken := slots.take(need)) is None:
            slots.give_back(*running.pop(0))
        running.append((need, taken))
        used = [name for _, names in running for name in names]
        assert len(used) == len(set(used)) <= gpus
        assert len(taken) == min(tp, gpus)
    for each in running:
        slots.give_back(*each)
    assert (slots.gpus, slots.running, slots.cores) == ([str(i) for i in range(gpus)], 0, 4)


def test_a_number_of_jobs_is_a_limit_also_where_gpus_are_free() -> None:
    slots = make_slots(8, jobs=1)
    need = slots.get_need(make_launch(1))
    assert slots.take(need) == ("0",)
    assert slots.take(need) is None


def test_auto_goes_by_cores_and_memory_where_there_is_no_gpu() -> None:
    slots = make_slots(cores=4)
    need = slots.get_need(make_launch(2))
    assert [slots.take(need) for _ in range(3)] == [(), (), None]
    slots = make_slots(cores=64, size=3 * BYTES_PER_RANK)
    large = slots.get_need(make_launch(1), weights_bytes=BYTES_PER_RANK)
    assert [slots.take(large) for _ in range(2)] == [(), None]


def test_one_always_runs_and_a_number_overrides_cores_and_memory() -> None:
    slots = make_slots(cores=1, size=0)
    need = slots.get_need(make_launch(8))
    assert [slots.take(need) for _ in range(2)] == [(), None]
    slots = make_slots(cores=1, size=0, jobs=2)
    assert [slots.take(need) for _ in range(3)] == [(), (), None]


def test_survivors_keep_their_gpus_and_theirs_alone() -> None:
    slots = make_slots(4)
    two, three = slots.get_need(make_launch(2)), slots.get_need(make_launch(3))
    taken = slots.take(two)
    assert taken == ("0", "1")
    slots.give_back(two, taken, "pid 7 lives on")
    assert slots.find_hindrance(two) == ""
    assert slots.find_hindrance(three) == "pid 7 lives on"
    assert slots.take(two) == ("2", "3")


def test_survivors_on_a_host_without_gpus_end_it() -> None:
    slots = make_slots()
    need = slots.get_need(make_launch(1))
    slots.give_back(need, slots.take(need) or (), "pid 7 lives on")
    assert slots.find_hindrance(need) == "pid 7 lives on"
