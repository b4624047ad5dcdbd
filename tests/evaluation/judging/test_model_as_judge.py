"""A model in this process judges through the engine: what it babbles is missing, not a score."""

from danlu.evaluation.judging.asking import Judge
from danlu.evaluation.judging.plan import load_plan
from danlu.evaluation.judging.scoring import judge_answers
from danlu.generation.interface import Sampling
from danlu.generation.local import TransformersGenerator
from danlu.sequences.template import ChatTemplate
from danlu.workshop.produce.cache import RequestCache
from danlu.workshop.produce.engine import Engine
from danlu.workshop.produce.in_process import InProcess
from tests.evaluation.judging.judges import answer, item
from tests.tiny_models import tiny_llama


def test_a_random_model_judges_and_nothing_is_read(tiny_tokenizer, tmp_path) -> None:
    model = tiny_llama(max_position_embeddings=8192)
    generator = TransformersGenerator(model, tiny_tokenizer, ChatTemplate.load(tiny_tokenizer))
    with (
        RequestCache(tmp_path / "requests.sqlite") as cache,
        Engine(InProcess(generator, "tiny"), cache) as engine,
    ):
        judge = Judge(engine, Sampling(4, greedy=True), reasks=1)
        rows = judge_answers(judge, load_plan(), [item("q", "2+2?")], [answer("q", "4")])
        assert cache.counts() == {"answered": 4}
    assert [row.value for row in rows] == [None] * 3
    assert {row.failure.kind for row in rows if row.failure} == {"not_read"}
