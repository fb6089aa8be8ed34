# SPDX-License-Identifier: Apache-2.0
"""The texts every tokenizer is asked to encode. Deterministic; no file or network is read."""

import random
import unicodedata

PROSE = {
    "english": (
        "The gregale comes down from the north-east in winter, cold and steady, and the fishing boats of "
        "Malta stay in harbour until it has blown itself out. Nobody argues with it; they mend nets, they "
        "play cards, they wait. \"It'll be gone by Thursday,\" says the oldest of them, who hasn't been wrong "
        "since 1987. Three days later (it was a Thursday, of course) the sea lay flat as a table, and 27 boats "
        "went out before sunrise.\n\nA wind isn't a thing you can own. Still, people name them: the mistral, "
        "the sirocco, the bora, the libeccio, the tramontane. Each name carries its own weather, its own "
        "smell, its own excuses for being late."
    ),
    "french": (
        "Le mistral descend la vallée du Rhône à plus de 100 km/h. L'hiver, il dure parfois six ou neuf "
        "jours ; l'été, il chasse les nuages et rend le ciel d'un bleu presque insupportable. « Ça va "
        "passer », dit-on, mais où, quand, comment ? Personne ne l'a jamais su. Les vieux mas tournent le "
        "dos au nord, les cyprès font haie, et l'œuvre du vent se lit dans chaque arbre penché."
    ),
    "german": (
        "Der Föhn fällt warm über die Alpen, und plötzlich sieht man die Berge so nah, daß man meint, sie "
        "berühren zu können. Manche bekommen Kopfschmerzen, andere gute Laune; die Straßenbahn fährt "
        "trotzdem pünktlich um 7:45 Uhr. Übermäßige Windgeschwindigkeitsmessungen ändern daran nichts."
    ),
    "spanish": (
        "¿Quién no ha oído la tramontana en el Ampurdán? Dicen que vuelve locos a los pintores. ¡Mentira! "
        "El niño de la señora Núñez corría contra el viento con una cometa roja, y reía, y volvía a correr."
    ),
    "italian": "La bora scura arriva da est-nord-est, a raffiche di 150 km/h; perché a Trieste si tendono le corde "
        "lungo i marciapiedi, così la gente può camminare. È già mezzogiorno, e nessuno ha più il cappello.",
    "portuguese": "O vento sul não traz só chuva: traz também as histórias dos avós, o cheiro a maçã e a pão, "
        "e uma saudade que ninguém sabe pôr em palavras.",
    "polish": "Wiatr halny zrywa dachy, łamie świerki i budzi źrebięta; w żółtej kuchni wciąż pachnie chlebem.",
    "turkish": "Lodos esince İstanbul'da vapurlar çalışmaz; ışıklar söner, ığıl ığıl akan deniz köpürür.",
    "vietnamese": "Gió mùa đông bắc thổi về, trời trở lạnh; những người bán hàng rong vẫn ngồi ở góc phố cũ.",
    "russian": (
        "Ветер с моря дул всю ночь, и к утру город стоял мокрый и тихий. «Ну что, поедем?» — спросил он, "
        "не оборачиваясь. Ёлки качались, объявления на столбах хлопали, как крылья; было 5 часов 30 минут."
    ),
    "greek": "Το μελτέμι φυσάει στο Αιγαίο κάθε Αύγουστο· τα καράβια δένουν στο λιμάνι και οι άνθρωποι περιμένουν.",
    "hebrew": "הרוח המזרחית חמה ויבשה. בְּרֵאשִׁית היה הים שקט, ואחר כך באו הגלים.",
    "arabic": (
        "تهبّ رياح الخماسين في الربيع محمّلةً بالرمال، فيصير لون السماء أصفر. قال الشيخ: «اِصبِروا، فالريح لا "
        "تدوم». وبعد ٣ أيام هدأ كل شيء، وعاد البحّارة إلى قواربهم ـ والحمد لله."
    ),
    "persian": "باد صد و بیست روزهٔ سیستان می‌وزد و خاک می‌آورد؛ مردم پنجره‌ها را می‌بندند.",
    "hindi": "लू चलती है तो दोपहर में गलियाँ सूनी हो जाती हैं। बच्चे कहते हैं, \"आज भी आम मिलेंगे?\" और दादी हँस देती हैं।",
    "tamil": "தென்றல் காற்று மெல்ல வீசும்போது ஊர் முழுவதும் மல்லிகை மணக்கும்.",
    "thai": "ลมหนาวมาแล้ว ชาวนาเก็บเกี่ยวข้าว เด็กๆ เล่นว่าวอยู่กลางทุ่งจนตะวันตกดิน",
    "chinese": (
        "冬天的北风吹过长城，旗子哗哗作响。老人说：“风停了，雪就来了。”第二天早上，果然下了一场大雪，"
        "孩子们跑出去堆雪人，一共堆了十二个。繁體字也要測試：臺灣的東北季風很強。"
    ),
    "japanese": (
        "木枯らしが吹くと、もう冬だ。「今日は寒いですね」と彼女は言って、マフラーを巻き直した。"
        "カタカナのテスト：コンピューター、ﾊﾝｶｸ。２０２６年１１月、東京タワーの前で。"
    ),
    "korean": "높새바람이 불면 논이 마른다. 할머니는 “비가 와야지” 하고 하늘을 보셨다. 2026년 11월 23일, 날씨 맑음.",
    "georgian": "ქარი მთიდან უბერავს და ღრუბლები ზღვისკენ მიდიან.",
}

CODE_C = """\
#include <stdint.h>
static inline uint32_t rotl32(uint32_t x, int r)
{
\treturn (x << (r & 31)) | (x >> (-r & 31));\t/* no UB */
}

int main(int argc, char **argv) {
    for (int i = 0; i < argc; ++i)
        printf("%d: '%s'\\n", i, argv[i]);
    return 0x1F != 31 ? -1 : 0;
}
"""

CODE_PY = """\
def fib(n: int) -> list[int]:
    \"\"\"First n numbers; it's O(n).\"\"\"
    a, b = 0, 1
    out = []
    while len(out) < n:
        out.append(a)
        a, b = b, a+b
    return out   # don't print


if __name__ == "__main__":
    print(fib(10)[-1] // 2 ** 3, f"{3.14159:.2f}", {'k': [1, 2, 3]}, not True)
"""

JSON_TEXT = '[{"name": "get_weather", "arguments": {"city": "São Paulo", "days": 3, "unit": null}}, {"a":[[],{}]}]\n'

MARKUP = "<p class=\"x\">1 &lt; 2</p>\n\n# Title\n\n* item **bold** `code`\n* [link](https://example.org/a?b=c&d=%20#e)\n---\n"

CONTROL_NAMES = (
    "<s></s><unk>[INST] hi [/INST][TOOL_CALLS] [AVAILABLE_TOOLS][/AVAILABLE_TOOLS] [SYSTEM_PROMPT]x[/SYSTEM_PROMPT]"
    "<|im_start|>user\n<|im_end|><|endoftext|> <0x41><0x0A> [REFERENCE_DOC_1] <SPECIAL_20> <pad>"
)

WHITE_SPACE = [*range(0x9, 0xE), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
NEARLY_SPACE = [0x1C, 0x1D, 0x1E, 0x1F, 0x180E, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x2800, 0x3164, 0x115F]


def _assigned(cp: int) -> bool:
    return not 0xD800 <= cp <= 0xDFFF and unicodedata.category(chr(cp)) != "Cn"


def _random_unicode(rng: random.Random, count: int, low: int, high: int) -> str:
    out = []
    while len(out) < count:
        cp = rng.randrange(low, high)
        if _assigned(cp):
            out.append(chr(cp))
    return "".join(out)


def _tricky(rng: random.Random, count: int) -> str:
    """Random text over the characters on which pre-tokenizer patterns turn."""
    alphabet = list("aAbZ019'sStTlLdDmMvVrReE    \t\n\r\n/.-!(\"") + [
        "é", "É", "ß", "ǅ", "ʰ", "ª", "中", "あ", "ا", "٣", "½", "Ⅷ", "²", "\u0301", "\u0903", "\u20dd", "\u00a0",
        "\u3000", "\u180e", "\u200d", "\u200b", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "😀", "€", "ſ", "K", "\ue000",
    ]
    return "".join(rng.choice(alphabet) for _ in range(count))


def _spaces() -> list[tuple[str, str]]:
    runs = "".join(f"{' ' * n}x" for n in range(1, 20)) + " " * 33
    mixed = "a\n\nb\n \nc \n  d\t\te \t f\r\ng\r\rh\n\n\n\n\n    i\t\n\t\n" + "\n" * 17 + "\t" * 9 + "end \n"
    each = "".join(f"a{chr(c)}b{chr(c)}{chr(c)}C {chr(c)}1{chr(c)} ." for c in WHITE_SPACE)
    nearly = "".join(f"a{chr(c)}b {chr(c)} {chr(c)}{chr(c)}Z{chr(c)}9" for c in NEARLY_SPACE)
    return [
        ("empty", ""), ("space", " "), ("two-spaces", "  "), ("newline", "\n"), ("tab", "\t"), ("crlf", "\r\n"),
        ("leading-space", " leading"), ("leading-spaces", "   leading three"), ("trailing-space", "trailing "),
        ("trailing-spaces", "trailing three   "), ("both", "  both  "), ("trailing-newlines", "line\n\n"),
        ("space-runs", runs), ("mixed-space", mixed), ("white-space-characters", each), ("nearly-space", nearly),
        ("meta-space", "a\u2581b \u2581\u2581c\u2581 \u2581"),
    ]


def _words() -> list[tuple[str, str]]:
    contractions = (
        "I'm you're he's it'll we've they'd don't I'M YOU'RE HE'S IT'LL WE'VE THEY'D DON'T 's 'S 't 'T 're 'RE 've 'm 'll 'LL"
        " 'd 'D ''s 'sa 'sA x'sy I\u2019m it\u2019s '\u017f 'L 'l rock'n'roll 'tis O'Neill's \"'s\" ' s"
    )
    numbers = (
        "0 1 12 123 1234 12345 1234567890 3.14159 1,000,000.00 -42 +7 1e-9 0x1F 0b101 1/2 50% $9.99 €5 v1.2.3 2026-11-23T09:41:00Z"
        " 127.0.0.1 ½ ² ³ Ⅷ ٣٤٥ १२३ １２３ 一二三 a1b2c3 x86_64 10th 1st"
    )
    case = "CamelCase camelCase HTTPServer XMLHttpRequest iPhone ABCdef abcDEF ABC aBc ǅungla ΑΒΓαβγ ДЖдж snake_case kebab-case SCREAMING_CASE"
    punctuation = "!!! ... ?! -- --- ==> <- :: ;; // \\\\ /path/to/file.c ../.. ~/x @user #tag a/b//c\n///\n//\n/ $$ %% && || ** `` '' \"\" () [] {} <> ^_^"
    return [
        ("hello", "Hello, world!"), ("letter", "a"), ("capital", "A"), ("digit", "7"), ("contractions", contractions),
        ("numbers", numbers), ("case", case), ("punctuation", punctuation),
        ("code-c", CODE_C), ("code-python", CODE_PY), ("json", JSON_TEXT), ("markup", MARKUP), ("control-names", CONTROL_NAMES),
        ("long-word", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 2),
    ]


def _unicode() -> list[tuple[str, str]]:
    emoji = "😀 👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇲🇹🇫🇷 ❤️ 🧑🏿‍🚀👨‍💻 ☕️ 1️⃣ 🫠 text😀text 😀😀😀 ©®™"
    combining = (
        "e\u0301 a\u0308 n\u0303 o\u0302\u0323 \u0301alone Z\u0335\u0321a\u0337l\u0338g\u0334o\u0336 cafe\u0301 Å\u030a Á\u0301 \u1100\u1161\u11a8 "
        "क्षि ก็ สิ้น \u0915\u094d\u0937 i\u0307\u0307 \u20dd x\u20dd 1\u0301 !\u0301"
    )
    controls = "".join(chr(c) for c in [*range(0x00, 0x20), 0x7F, *range(0x80, 0xA0)])
    spread = "".join(f"th{chr(c)}e" for c in [0, 1, 4, 6, 7, 0x13, 0x14, 0x16, 0x1B, 0x1D, 0x7F])
    bidi = "abc \u202eמילה\u202c def \u2067نص\u2069 \u200fx\u200e \u061c \ufeffbom \ufffe \uffff \ufffd\ufffd"
    astral = "𝒳𝔘𝕏 𐍈𐌰 𓂀𓃠 𝟘𝟙𝟚 🀄🂡 𠮷野家 \U0001F1E6 \U000E0041\U000E007F \U0010FFFD\U000F0000 \ue000\uf8ff"
    return [
        ("emoji", emoji), ("combining", combining), ("controls", controls), ("controls-between", spread), ("bidi", bidi), ("astral", astral),
        ("missing-between", "!\x04! .\x06\x06.\x13. =\x14=\x16= \x1d\x1d"),  # bytes SmolLM2 has no token for
        ("ligatures", "ﬁ ﬂ ﬆ ĳ Ǆ ǅ ǆ ß ẞ İ ı ſ K Å Ω µ μ ª º ℌ ⅓ ① ㈠ ㍿"),
    ]


def _random() -> list[tuple[str, str]]:
    rng = random.Random(20261123)
    out = [(f"random-bmp-{i}", _random_unicode(rng, 150, 0, 0x10000)) for i in range(2)]
    out.append(("random-astral", _random_unicode(rng, 80, 0x10000, 0x20000)))
    out.append(("random-any", _random_unicode(rng, 80, 0, 0x110000)))
    out.append(("random-latin", _random_unicode(rng, 300, 0, 0x250)))
    out += [(f"tricky-{i}", _tricky(rng, 500)) for i in range(4)]
    return out


def texts() -> list[tuple[str, str]]:
    """Every (name, text) that is encoded without special tokens and without BOS or EOS."""
    prose = [(f"prose-{k}", v) for k, v in PROSE.items()]
    mixed = ("prose-mixed", "\n\n".join(v[:90] for v in PROSE.values()))
    return _spaces() + _words() + _unicode() + prose + [mixed] + _random()


# A mebibyte (rounded down to whole characters) of one character: (name, unit, repetitions).
REPEATS = [
    ("letter", "a", 1 << 20),
    ("capital", "A", 1 << 20),
    ("digit", "7", 1 << 20),
    ("newline", "\n", 1 << 16),
    ("space", " ", 1 << 16),
    ("han", "好", (1 << 20) // 3),
]

# Not UTF-8. SentencePiece turns each offending byte into U+FFFD; the other oracles take only text.
INVALID = [
    ("lone-continuation", b"a\x80b"), ("lone-lead", b"\xc3("), ("truncated-4", b"x \xf0\x9f\x98"), ("truncated-3", b"ab\xe4\xbd"),
    ("surrogate", b"\xed\xa0\x80"), ("overlong", b"\xc0\xaf\xe0\x80\xaf"), ("too-big", b"\xf4\x90\x80\x80 \xf8\x88\x80\x80\x80"),
    ("latin1", "Gr\xfc\xdfe aus Malm\xf6".encode("latin-1")), ("ff", b"\xff\xfe\x00h\x00i\x00"),
    ("random", bytes(random.Random(7).randrange(256) for _ in range(120))),
]

# Encoded with control tokens recognised (SmolLM2 alone: Mistral's own tokenizers never recognise any in text).
SPECIAL = [
    ("turn", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    ("adjacent", "<|im_start|><|im_end|><|endoftext|><repo_name>x<file_sep>"),
    ("broken", "<|im_start<|im_end|>|> <|im_start |>"),
    ("spaces", " <|im_start|>  <|im_end|> \n"),
]
