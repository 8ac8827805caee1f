"""Writes tfidf_ref.json: the cosine of every two of these texts in scikit-learn's TF-IDF space of words and
char_wb n-grams. Needs scikit-learn. Python normalises and folds; its regular expression finds the words of UAX #29 in
these texts."""

import json
import pathlib
import unicodedata

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion

fitted = [
    "Star Wars: Episode IV - A New Hope (1977) Action Adventure Sci-Fi",
    "Star Wars: Episode V - The Empire Strikes Back (1980) Action Adventure Sci-Fi War",
    "Star Trek: The Wrath of Khan (1982) Action Adventure Sci-Fi",
    "Été, un été, un éTÉ d'été; été! (1968) Drama",
    "M (1931) Crime Film-Noir",
    "",
    "Brief Encounter (1946) Drama Romance",
    "A Fish Called E\u0301TE\u0301 (\uff11\uff19\uff18\uff18) Stra\u00dfe, \ufb01lm-noir",
    "STRASSE 3.14: l'e\u0301te\u0301 du re\u0301gisseur Rohmer",
]


def normalized(text):
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", text).casefold())


reference = {"texts": fitted, "cosines": {}}
for sublinear in (True, False):
    options = dict(sublinear_tf=sublinear, norm="l2", smooth_idf=True, preprocessor=normalized)
    union = FeatureUnion([
        ("words", TfidfVectorizer(token_pattern=r"(?u)\w+(?:['.]\w+)*", **options)),
        ("ngrams", TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **options)),
    ])
    rows = union.fit_transform(fitted)
    # Texts have a word and an n-gram, or none of either: both parts have length 1.
    cosines = (rows @ rows.T).toarray() / 2
    reference["cosines"]["sublinear" if sublinear else "plain"] = cosines.tolist()
path = pathlib.Path(__file__).with_name("tfidf_ref.json")
path.write_text(json.dumps(reference, ensure_ascii=False, indent=1))
print(path, path.stat().st_size, "bytes")
