"""Versions come, aliases move and models leave the memory under load: no answer fails and none is mixed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np

from autoencoders import bundle
from service.serving.engine import Engine
from store import Models, NotFound, Store
from tests.service.conftest import opened_store, settings_for
from tests.service.serving.waiting import until

ROWS = np.random.default_rng(1).random((200, 64), dtype=np.float32)


def _codes(store: Store) -> dict[str, np.ndarray[Any, Any]]:
    """What each version makes of the rows, by itself."""
    found = {}
    with store.session() as session:
        for name in ("digits-code@1", "digits-code@2"):
            folder = store.artifacts.local_copy(Models(session).resolve(name).artifact)
            found[name] = bundle.load(folder).encode(ROWS)
    return found


def _move(store: Store, version: int) -> None:
    with store.transaction() as session:
        Models(session).promote("digits-code", version)
        Models(session).set_alias("digits-code", "champion", 3 - version)


def _register(store: Store, version: int) -> int:
    """A new version with the files of an earlier one."""
    with store.transaction() as session:
        row = Models(session).resolve(f"digits-code@{version}")
        new = Models(session).register(
            name="digits-code",
            job_id=None,
            dataset_id=row.dataset_id,
            manifest=row.manifest,
            artifact=row.artifact,
        )
        return new.version


def test_under_load_no_answer_fails_and_none_is_mixed(trained: Path) -> None:
    async def main(store: Store) -> None:
        expected = _codes(store)
        _move(store, 2)
        origin = {1: 1, 2: 2}
        # Names are old after a tenth of a second, and only one model fits.
        engine = Engine(store, settings_for(trained, alias_seconds=0.1, model_cache_bytes=1))
        seen: set[int] = set()
        ended = False

        async def client(number: int) -> None:
            random = np.random.default_rng(number)
            names = ("digits-code", "digits-code@champion", "digits-code@1", "digits-code@2")
            while not ended:
                name = names[random.integers(len(names))]
                start, count = int(random.integers(100)), int(random.integers(1, 100))
                answer = await engine.run("encode", await engine.model(name), ROWS[start : start + count])
                version = answer.model.version
                seen.add(version)
                if name[-1].isdecimal():
                    assert f"@{version}" in name
                right = expected[f"digits-code@{origin[version]}"][start : start + count]
                np.testing.assert_allclose(answer.values, right, rtol=1e-5, atol=1e-5 * right.std())

        async def mover() -> None:
            for turn in range(12):
                await asyncio.to_thread(_move, store, 1 + turn % 2)
                await asyncio.sleep(0.06)
                if turn % 3 == 0:
                    like = 1 + turn % 2
                    origin[max(origin) + 1] = like
                    new = await asyncio.to_thread(_register, store, like)
                    await until(lambda new=new: new in seen)  # type: ignore[misc]

        clients = [asyncio.create_task(client(number)) for number in range(6)]
        await mover()
        ended = True
        await asyncio.gather(*clients)
        assert seen == set(origin)
        assert len(engine.cache) == 1
        engine.close()

    with opened_store(trained) as store:
        asyncio.run(main(store))


def test_a_moved_name_takes_over_within_its_time(trained: Path) -> None:
    async def main(store: Store) -> None:
        engine = Engine(store, settings_for(trained, alias_seconds=0.2))
        loop = asyncio.get_running_loop()
        assert (await engine.run("encode", await engine.model("digits-code"), ROWS)).model.version == 2
        # Moved by another process: nobody tells this engine.
        await asyncio.to_thread(_move, store, 1)
        until = loop.time() + 30
        while (await engine.run("encode", await engine.model("digits-code"), ROWS)).model.version == 2:
            assert loop.time() < until
            await asyncio.sleep(0.01)
        engine.close()

    with opened_store(trained) as store:
        asyncio.run(main(store))


def test_a_name_in_use_does_not_wait_for_the_store(trained: Path) -> None:
    async def main(store: Store) -> None:
        engine = Engine(store, settings_for(trained, alias_seconds=1.0))
        await engine.model("digits-code")
        asked = engine.names._asking
        now = asyncio.get_running_loop().time()
        engine.names._known["digits-code"] = (now - 0.6, await engine.names.resolve("digits-code"))
        # Half its time is over: it is answered at once, and asked again once for all.
        assert all(engine.held("digits-code") is not None for _ in range(5))
        assert len(asked) == 1
        await asyncio.gather(*asked.values())
        assert not asked
        engine.close()

    with opened_store(trained) as store:
        asyncio.run(main(store))


def test_an_answer_of_before_a_move_is_not_remembered_after_it(trained: Path) -> None:
    async def main(store: Store) -> None:
        engine = Engine(store, settings_for(trained))
        looking = asyncio.create_task(engine.model("digits-code"))
        await until(lambda: engine.names._asking)
        engine.forget_names("digits-code")
        assert (await looking).version == 2
        assert engine.held("digits-code") is None
        engine.close()

    with opened_store(trained) as store:
        asyncio.run(main(store))


def test_what_a_request_began_with_answers_it_to_its_end(trained: Path) -> None:
    async def main(store: Store) -> None:
        expected = _codes(store)
        engine = Engine(store, settings_for(trained, inference_batch_rows=16))
        model = await engine.model("digits-code@1")
        model.encoding.pace.__init__()  # type: ignore[misc]  # nothing known of it: its passes go to the thread
        running = asyncio.create_task(engine.run("encode", model, ROWS))
        await asyncio.sleep(0)
        engine.forget("digits-code")
        assert "digits-code@1" not in engine.cache
        other = await engine.run("encode", await engine.model("digits-code"), ROWS)
        answer = await running
        assert (answer.model.version, other.model.version) == (1, 2)
        right = expected["digits-code@1"]
        np.testing.assert_allclose(answer.values, right, rtol=1e-5, atol=1e-5 * right.std())
        engine.close()

    with opened_store(trained) as store:
        asyncio.run(main(store))


def test_a_removed_version_is_not_found_although_its_name_is_in_use(trained: Path) -> None:
    async def main(store: Store) -> None:
        engine = Engine(store, settings_for(trained, alias_seconds=0.1))
        assert (await engine.run("encode", await engine.model("digits-code@1"), ROWS)).model.version == 1

        def remove() -> None:
            with store.transaction() as session:
                Models(session).remove("digits-code", 1)

        await asyncio.to_thread(remove)
        gone = False
        until = asyncio.get_running_loop().time() + 30
        while not gone:
            assert asyncio.get_running_loop().time() < until
            try:
                await engine.run("encode", await engine.model("digits-code@1"), ROWS)
            except NotFound:
                gone = True
            await asyncio.sleep(0.01)
        engine.close()

    with opened_store(trained) as store:
        asyncio.run(main(store))


def test_several_actions_on_the_same_rows_are_one_pass(trained: Path) -> None:
    async def main(store: Store) -> None:
        engine = Engine(store, settings_for(trained))
        model = await engine.model("digits-code")
        passes = engine.statistics(model.key).execution_count
        found = await engine.run_all(("encode", "reconstruct", "score"), model, ROWS)
        assert engine.statistics(model.key).execution_count == passes + 1
        for action in ("encode", "reconstruct", "score"):
            alone = await engine.run(action, model, ROWS)
            np.testing.assert_allclose(found[action].values, alone.values, rtol=1e-5, atol=1e-6)
        assert set(found["score"].beside) == {"percentiles"}
        assert found["encode"].beside == {}
        assert engine.loaded() == ("digits-code@2",)
        await engine.unload("digits-code")
        assert engine.loaded() == ()
        engine.close()

    with opened_store(trained) as store:
        asyncio.run(main(store))
