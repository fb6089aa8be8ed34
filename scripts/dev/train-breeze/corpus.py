# SPDX-License-Identifier: Apache-2.0
"""The text breeze learns from: the King James Bible as Debian's bible-kjv packages hold it.

The text is in the public domain (its copyright expired; see /usr/share/doc/bible-kjv-text/copyright).
One chapter is one document: a title line such as "Genesis 1", then one verse a line.
Seven whole books are held out of training and make up the held-out text.
"""

import re
import subprocess

BOOKS = (
    "Genesis,Exodus,Leviticus,Numbers,Deuteronomy,Joshua,Judges,Ruth,1 Samuel,2 Samuel,1 Kings,"
    "2 Kings,1 Chronicles,2 Chronicles,Ezra,Nehemiah,Esther,Job,Psalm,Proverbs,Ecclesiastes,"
    "Song of Solomon,Isaiah,Jeremiah,Lamentations,Ezekiel,Daniel,Hosea,Joel,Amos,Obadiah,Jonah,"
    "Micah,Nahum,Habakkuk,Zephaniah,Haggai,Zechariah,Malachi,Matthew,Mark,Luke,John,Acts,Romans,"
    "1 Corinthians,2 Corinthians,Galatians,Ephesians,Philippians,Colossians,1 Thessalonians,"
    "2 Thessalonians,1 Timothy,2 Timothy,Titus,Philemon,Hebrews,James,1 Peter,2 Peter,1 John,"
    "2 John,3 John,Jude,Revelation"
).split(",")

HELD_OUT = ("Ruth", "Esther", "Ecclesiastes", "Jonah", "Mark", "Philippians", "James")

VERSE = re.compile(r"^(\S+?)(\d+):(\d+) (.*)$")


def dump():
    """The whole text, one verse a line with its reference in front, from the `bible` program."""
    done = subprocess.run(
        ["bible", "-f", "Gen1:1-Rev22:21"],
        stdin=subprocess.DEVNULL, capture_output=True, check=True,
    )
    return done.stdout.decode("ascii")


def chapters():
    """All chapters in order, as pairs (book, text)."""
    out, book_index, last_book, last_chapter, lines = [], -1, None, None, []
    for line in dump().splitlines():
        match = VERSE.match(line)
        if match is None:
            raise ValueError(f"not a verse: {line!r}")
        short, chapter, _, text = match.groups()
        if (short, chapter) != (last_book, last_chapter):
            if lines:
                out.append((BOOKS[book_index], "\n".join(lines) + "\n"))
            book_index += short != last_book
            last_book, last_chapter = short, chapter
            lines = [f"{BOOKS[book_index]} {chapter}"]
        lines.append(" ".join(text.split()))
    out.append((BOOKS[book_index], "\n".join(lines) + "\n"))
    if book_index != len(BOOKS) - 1 or len(out) != 1189:
        raise ValueError(f"expected 66 books and 1189 chapters, got {book_index + 1}, {len(out)}")
    return out


def split():
    """Two lists of chapter texts: for training, and held out."""
    train, held = [], []
    for book, text in chapters():
        (held if book in HELD_OUT else train).append(text)
    return train, held
