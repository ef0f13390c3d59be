"""The subject matter of the ingest bench: English passages, templated mathematics, code and Chinese, from a seed.

Shares no code with the product, so that neither can hide the other's mistake. Names are built of syllables: with them
two passages of one pattern have most of their text of their own, as two real passages have.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")
DIGITS = re.compile(r"\d+")

REFERENCE = "{{ item.reference }}"
TEXT: Mapping[str, Any] = {
    "type": "string_check",
    "input": "{{ sample.output_text }}",
    "reference": REFERENCE,
    "operation": "eq",
}  # of the dataset: of rows that name none
NUMBER: Mapping[str, Any] = {"type": "number", "reference": REFERENCE}
CHOICE: Mapping[str, Any] = {"type": "choice", "reference": REFERENCE, "letters": "ABCD"}


@dataclass(frozen=True, slots=True)
class Question:
    domain: str
    prompt: str
    reference: str
    grader: Mapping[str, Any] | None = None  # None: the dataset's


class Draw:
    """A seeded stream of choices: the few that random.Random does slowly, done directly."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed).random

    def below(self, limit: int) -> int:
        return int(self.random() * limit)

    def between(self, low: int, high: int) -> int:
        """Both included."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        return choices[int(self.random() * len(choices))]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NOUNS = _words(
    """lantern ledger compass barrel violin harbour orchard telescope quarry tapestry anvil manuscript bridge chimney
    kettle satchel pendulum granary sundial wagon mirror cellar rudder spindle teapot archway bellows cabinet drawbridge
    easel fountain gatehouse hammock inkwell jetty kiln loom mosaic necklace oar parchment quilt rafter saddle thimble
    urn veranda windmill atlas bakery canal dairy engraving ferry glacier helmet icehouse journal kennel library meadow
    notebook observatory pavilion quay reservoir sawmill tannery umbrella vineyard workshop almanac balcony corridor
    dovecote estuary forge greenhouse hedgerow infirmary joinery kiosk lighthouse monastery nursery outpost paddock
    registry scaffold terrace uplands viaduct warehouse academy boathouse cistern dormitory embankment furnace"""
)
ADJECTIVES = _words(
    """crooked amber forgotten narrow gilded silent weathered borrowed hollow scarlet patient ancient brittle copper
    dusty enormous faded gentle humble ivory jagged knotted lofty mossy nimble oaken painted quaint rusty slender tilted
    uneven velvet wooden abandoned blackened cheerful delicate eastern fragrant granite hidden inland jewelled leaden
    marble northern ornate polished restored secluded tarnished unfinished vaulted whitewashed carved draughty earthen
    flooded ghostly hexagonal"""
)
VERBS = _words(
    """repaired painted measured borrowed inherited described photographed guarded restored catalogued abandoned
    surveyed insured dismantled polished sketched purchased exhibited rebuilt mortgaged unearthed decorated numbered
    inspected relocated donated auctioned engraved furnished heated illuminated labelled mapped neglected occupied
    patrolled quarantined rented sealed transported upholstered ventilated weighed excavated barricaded chartered
    draped enclosed fortified glazed"""
)
TRADES = _words(
    """baker surveyor midwife glazier apothecary carpenter archivist ferryman weaver botanist clockmaker mason printer
    shepherd tailor cartographer potter locksmith miller brewer physician tinsmith librarian gardener sculptor notary
    blacksmith falconer chandler cooper draper engraver fletcher grocer hatter ironmonger jeweller lawyer magistrate
    navigator optician painter roofer saddler tanner usher vintner wheelwright"""
)
MOMENTS = (
    "shortly after the harvest", "during the long frost", "on the eve of the regatta", "before the spring tides",
    "while the council argued", "at the end of the drought", "in the week of the eclipse", "after a quarrel over rent",
    "when the mail coach was late", "long before the railway came", "as the plague receded", "in the driest summer",
    "under a borrowed name", "without telling anybody", "against the advice of friends", "for a modest commission",
    "by candlelight", "to settle an old debt", "with the help of two nephews", "instead of attending the wedding",
    "out of sheer stubbornness", "on behalf of the widow", "because the roof had fallen in", "ahead of the inspection",
)  # fmt: skip
_FIRST = _words(
    """Al Ber Cor Dal Em Far Gel Hal Il Jor Kel Lor Mar Nev Or Per Quin Ros Sel Tam Ul Ver Wil Xan Yor Zel Bran Clem
    Dren Elo Fen Gri Hes Ian Jas Kor Lin Mel Nor Oth"""
)
_MIDDLE = _words("a e i o u an en in on ar er or al el il ol ath eth ist ost und ark ev iv ob ug yl ash esk orn im um")
_LAST = _words(
    """ra na la mir vin dor bert wen dal ton nia ric ska gard mond lia sen hart wick ley ford more stan mer beck ros
    dine quist let mann bury holm field crest water by worth stead combe thorpe"""
)


def name(draw: Draw) -> str:
    """One of about fifty thousand."""
    pick = draw.pick
    return pick(_FIRST) + pick(_MIDDLE) + pick(_LAST)


def thing(draw: Draw) -> str:
    return f"{draw.pick(ADJECTIVES)} {draw.pick(NOUNS)}"


def fact(draw: Draw) -> tuple[str, str, str, str]:
    """(sentence, who, did, what)"""
    pick = draw.pick
    who, did, what = f"{name(draw)} {name(draw)}", pick(VERBS), thing(draw)
    shape = draw.below(6)
    if shape == 0:
        said = f"{who}, {_a(pick(TRADES))} from {name(draw)}, {did} the {what} {pick(MOMENTS)}."
    elif shape == 1:
        said = f"{_capital(pick(MOMENTS))}, {who} {did} the {what} of {name(draw)}."
    elif shape == 2:
        said = f"The {what} near {name(draw)} was {did} by {who} {pick(MOMENTS)}."
    elif shape == 3:
        said = f"In {name(draw)}, where every {pick(TRADES)} keeps a {pick(NOUNS)}, {who} {did} a {what}."
    elif shape == 4:
        said = f"It was {who} who {did} the {what} in {draw.between(1411, 1999)}, {pick(MOMENTS)}."
    else:
        said = (
            f"{who} {did} the {what} and, {pick(MOMENTS)}, sold {draw.between(2, 980)} {pick(NOUNS)}s to {name(draw)}."
        )
    return said, who, did, what


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def english(draw: Draw) -> Question:
    """Two or three facts, and a question about one of them."""
    facts = [fact(draw) for _ in range(2 + (draw.random() < 0.6))]
    _, who, did, what = draw.pick(facts)
    passage = " ".join(said for said, *_ in facts)
    shape = draw.below(4)
    if shape == 0:
        return Question("reading", f"{passage} Who {did} the {what}?", who)
    if shape == 1:
        return Question("reading", f"{passage} What was {did} by {who}? Answer with the noun and its adjective.", what)
    if shape == 2:
        return Question("reading", f"Read this: {passage} Which verb tells what {who} did with the {what}?", did)
    people = [person for _, person, *_ in facts] + [f"{name(draw)} {name(draw)}"]
    lettered = "  ".join(f"{letter}) {person}" for letter, person in zip("ABCD", people, strict=False))
    asked = f"{passage} Who {did} the {what}? {lettered}"
    return Question("reading", asked, "ABCD"[people.index(who)], CHOICE)


def _shop(draw: Draw) -> tuple[str, int]:
    a, b, c, d = draw.between(12, 980), draw.between(3, 97), draw.between(11, 450), draw.between(2, 60)
    first, second = draw.pick(NOUNS), draw.pick(NOUNS)
    said = (
        f"{name(draw)} runs a stall in {name(draw)} and buys {a} {first}s for {b} coins each. Later {c} {second}s are "
        f"added for {d} coins each, which a {draw.pick(TRADES)} had ordered. How many coins were spent in all?"
    )
    return said, a * b + c * d


def _journey(draw: Draw) -> tuple[str, int]:
    a, b, c = draw.between(14, 95), draw.between(2, 19), draw.between(21, 870)
    said = (
        f"The {draw.pick(TRADES)} {name(draw)} travels from {name(draw)} towards {name(draw)} at {a} kilometres per "
        f"hour for {b} hours, rests beside a {thing(draw)}, and then walks another {c} kilometres. How long is the way?"
    )
    return said, a * b + c


def _sharing(draw: Draw) -> tuple[str, int]:
    people, each, rest = draw.between(3, 48), draw.between(7, 390), draw.between(1, 2)
    total, lost = people * each + rest, draw.between(5, 300)
    said = (
        f"A {thing(draw)} in {name(draw)} held {total + lost} {draw.pick(NOUNS)}s, of which {lost} were spoiled by "
        f"rain. The others are divided equally among {people} {draw.pick(TRADES)}s. How many does each of them receive?"
    )
    return said, total // people


def _remainder(draw: Draw) -> tuple[str, int]:
    a, b, c = draw.between(1200, 99_000), draw.between(13, 890), draw.between(7, 99)
    return f"Let n = {a} + {b} * {c}. Compute the remainder of n when it is divided by {b + c}.", (a + b * c) % (b + c)


def _line(draw: Draw) -> tuple[str, int]:
    slope, x, cut = draw.between(2, 97), draw.between(3, 640), draw.between(1, 2000)
    said = (
        f"A line in the plane has slope {slope} and crosses the vertical axis at {cut}. A point P of the line has the "
        f"abscissa {x}. The point is labelled {name(draw)} on the map of {name(draw)}. What is the ordinate of P?"
    )
    return said, slope * x + cut


def _rates(draw: Draw) -> tuple[str, int]:
    a, b, c, d = draw.between(3, 80), draw.between(3, 80), draw.between(2, 40), draw.between(20, 700)
    said = (
        f"In the workshop of {name(draw)}, one {draw.pick(TRADES)} finishes {a} {draw.pick(NOUNS)}s a day and another "
        f"finishes {b}. Both work for {c} days, and {d} more pieces come from {name(draw)}. How many pieces are there?"
    )
    return said, (a + b) * c + d


_SUMS = (_shop, _journey, _sharing, _remainder, _line, _rates)


def mathematics(draw: Draw) -> Question:
    prompt, answer = draw.pick(_SUMS)(draw)
    return Question("maths", prompt, str(answer), NUMBER)


def extremes(draw: Draw) -> Question:
    """The largest of some numbers; never the last one, which an echo of the prompt would end with."""
    values = [draw.between(11, 9800) for _ in range(5 + draw.below(4))]
    for _ in range(2):
        if values[-1] in (max(values), min(values)):
            values.insert(0, values.pop())
    listed = ", ".join(map(str, values))
    prompt = (
        f"The {draw.pick(TRADES)} of {name(draw)} counted the {draw.pick(NOUNS)}s in every {thing(draw)} of the "
        f"district and wrote down {listed}. Which of these numbers is the largest?"
    )
    return Question("maths", prompt, str(max(values)), NUMBER)


def smallest(question: Question) -> Question | None:
    """Where it asks for the largest: the same with one other word, and another answer."""
    if "is the largest?" not in question.prompt:
        return None
    values = map(int, DIGITS.findall(question.prompt))
    return replace(question, prompt=question.prompt.replace("largest", "smallest"), reference=str(min(values)))


def difference(draw: Draw) -> Question:
    a, b = draw.between(130, 99_000), draw.between(120, 98_000)
    prompt = (
        f"The {draw.pick(NOUNS)} of {name(draw)} cost {a} crowns before the auction. {name(draw)}, "
        f"{_a(draw.pick(TRADES))}, paid {b} crowns for it {draw.pick(MOMENTS)}. By how many crowns did it rise?"
    )
    return Question("maths", prompt, str(b - a), NUMBER)


def turned(question: Question) -> Question | None:
    """Where it asks for a difference: the same two numbers in the other order, and the answer's sign with them."""
    if "crowns did it rise?" not in question.prompt:
        return None
    others = iter(reversed(DIGITS.findall(question.prompt)))
    prompt = DIGITS.sub(lambda _: next(others), question.prompt)
    return replace(question, prompt=prompt, reference=str(-int(question.reference)))


_STEPS: tuple[tuple[str, Callable[[list[int], int], list[int]]], ...] = (
    ("sorted({x})", lambda x, n: sorted(x)),
    ("{x}[::-1]", lambda x, n: x[::-1]),
    ("[v + {n} for v in {x}]", lambda x, n: [v + n for v in x]),
    ("[v * {n} for v in {x}]", lambda x, n: [v * n for v in x]),
    ("[v for v in {x} if v > {n}]", lambda x, n: [v for v in x if v > n]),
    ("{x} + [{n}]", lambda x, n: [*x, n]),
    ("[v % {n} for v in {x}]", lambda x, n: [v % n for v in x]),
    ("[{n}] + {x}[1:]", lambda x, n: [n, *x[1:]]),
)


def code(draw: Draw) -> Question:
    """A small program, and what it prints."""
    pick = draw.pick
    values = [draw.between(1, 99) for _ in range(3 + draw.below(4))]
    function, given = f"{pick(VERBS)}_{pick(NOUNS)}", f"{pick(ADJECTIVES)}_{pick(NOUNS)}s"
    lines = [f"def {function}({given}):", f'    """{_capital(thing(draw))} of {name(draw)}."""']
    current, result = given, values
    for _ in range(2 + draw.below(3)):
        step, run = pick(_STEPS)
        number, made = draw.between(2, 60), f"{pick(ADJECTIVES)}_{pick(NOUNS)}"
        lines.append(f"    {made} = {step.format(x=current, n=number)}")
        current, result = made, run(result, number)
    lines += [f"    return {current}", "", f"print({function}({values}))"]
    return Question("code", "What does this program print?\n\n" + "\n".join(lines), str(result))


_SURNAMES = (
    "王李张刘陈杨黄赵周吴徐孙朱马胡郭林何高罗郑梁谢宋唐许邓冯韩曹曾彭萧蔡潘田董袁于余叶蒋杜苏"
    "魏程吕丁沈任姚卢傅钟姜崔谭廖范汪陆金石戴贾韦夏邱方侯邹熊孟秦白江阎薛尹段雷"
)
_GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰荣建国春红梅文志远思雨晨曦"
    "浩然子轩佳怡梓涵一诺可欣若溪宇航博文海波晓东雪松云飞天翔"
)
_PLACES = "青石白云黄河长安龙泉双桥柳林新塘古井东湖西山南屏北渡花溪临江金沙银杏红岩翠竹梅岭松坡兰台桂园枫桥荷塘"
_OBJECTS = _words(
    "瓷瓶 竹椅 铜镜 油画 木箱 砚台 风筝 灯笼 茶壶 丝绸 古琴 算盘 石碑 画册 渔网 水车 马鞍 草帽 屏风 酒坛 药柜 织机 "
    "书架 铁锅 扇子 棋盘 邮票 钟表 地图 玉佩 船桨 米袋 铃铛 皮箱 梯子 锦旗 信封 花盆 毛笔 鼓"
)
_DOINGS = _words("修好 卖掉 借走 送给邻居 画下 搬到仓库 擦干净 藏进地窖 捐给学校 登记入册 重新上漆 拍成照片 包装 称重")
_WHENS = _words("清晨 雨停以后 中秋节前 庙会那天 停电的夜里 大雪过后 放学路上 开市之前 搬家那周 暑假里 黄昏 收割季节")
_HAN_TRADES = _words("木匠 教师 渔民 医生 裁缝 司机 厨师 画家 会计 邮差 花农 铁匠 药师 船工 记者 理发师")


def _han_name(draw: Draw) -> str:
    return draw.pick(_SURNAMES) + draw.pick(_GIVEN) + draw.pick(_GIVEN)


def _han_place(draw: Draw) -> str:
    return draw.pick(_PLACES) + draw.pick(_PLACES) + draw.pick("镇村县乡市")


def chinese(draw: Draw) -> Question:
    """Facts and a question, or a sum."""
    pick = draw.pick
    if draw.random() < 0.4:
        a, b, c = draw.between(13, 970), draw.between(3, 88), draw.between(5, 400)
        prompt = (
            f"{_han_place(draw)}的{pick(_HAN_TRADES)}{_han_name(draw)}{pick(_WHENS)}买了{a}个{pick(_OBJECTS)}，每个{b}元。"
            f"后来{_han_name(draw)}又付了{c}元运费，把货送到{_han_place(draw)}。请问一共花了多少元?"
        )
        return Question("chinese", prompt, str(a * b + c), NUMBER)
    facts = []
    for _ in range(3 + draw.below(2)):
        who, did, what = _han_name(draw), pick(_DOINGS), pick(_OBJECTS)
        facts.append((f"{pick(_WHENS)}，{_han_place(draw)}的{pick(_HAN_TRADES)}{who}把{what}{did}了", who, did, what))
    _, who, did, what = facts[draw.below(len(facts))]
    return Question("chinese", "。".join(said for said, *_ in facts) + f"。请问是谁把{what}{did}了?", who)


def ask(draw: Draw) -> Question:
    """Of the mixture: 40 in 100 reading, 32 mathematics (a third of it with hard negatives), 14 code, 14 Chinese."""
    kind = draw.below(100)
    if kind < 40:
        return english(draw)
    if kind < 60:
        return mathematics(draw)
    if kind < 66:
        return extremes(draw)
    if kind < 72:
        return difference(draw)
    return code(draw) if kind < 86 else chinese(draw)
