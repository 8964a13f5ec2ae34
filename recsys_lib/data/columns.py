"""Which column of a reader's table means what, by its name."""

import re
from collections.abc import Mapping, Sequence

ROLES: Mapping[str, tuple[str, ...]] = {  # role -> names, the preferred first
    "user": ("user", "user_id", "uid", "customer", "customer_id", "reviewer_id",
             "visitor_id", "session_id", "member_id", "account_id"),
    "item": ("item", "item_id", "iid", "movie_id", "product_id", "parent_asin", "asin",
             "sku", "article_id", "book_id", "film_id", "track_id", "song_id",
             "business_id", "news_id", "product", "movie"),
    "timestamp": ("timestamp", "time", "datetime", "date", "event_time", "created_at",
                  "unix_review_time", "review_time", "unix_time", "ts", "t_dat"),
    "rating": ("rating", "overall", "score", "stars", "star_rating", "preference"),
    "text": ("text", "item_text"),
    "review": ("review", "review_text", "review_body", "comment", "text", "body",
               "content"),
    "title": ("title", "name", "item_name", "product_name", "movie_title",
              "product_title", "prod_name"),
    "features": ("features", "feature", "bullet_points"),
    "description": ("description", "abstract", "body", "content"),
    "year": ("year", "release_year", "publication_year"),
    "metadata": ("metadata", "genres", "genre", "categories", "category", "tags",
                 "class", "main_category", "product_type_name"),
    "event": ("event", "event_type", "action", "behavior", "behaviour"),
}  # fmt: skip


def find_columns(
    header: Sequence[str], roles: Sequence[str], given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Find the columns of a table by their names.

    Case, blanks, underscores and RecBole's types do not matter: "userId" and
    "user_id:token" are "user_id".

    Args:
        header: Names of the columns; other ones than those found are ignored.
        roles: To find, of `ROLES`.
        given: Role -> column, as the reader says; they go before the usual names.

    Returns:
        role -> column, for the roles found.

    Raises:
        ValueError: If a column given is not there.

    >>> find_columns(["", "userId", "movieId", "mood"], ["user", "item", "rating"])
    {'user': 'userId', 'item': 'movieId'}
    """
    named = {_plain(name): name for name in reversed(header) if name.strip()}
    found = {}
    for role in roles:
        if role in (given or {}):
            said = (given or {})[role]
            column = next((x for x in header if said in (x, _untyped(x))), "")
            if not column:
                names = ", ".join(header)
                raise ValueError(f"COLUMNS: {role}={said} must be one of {names}")
            found[role] = column
        else:
            known = (named[x] for x in map(_plain, ROLES[role]) if x in named)
            if column := next(known, ""):
                found[role] = column
    return found


def parse_columns(text: str) -> dict[str, str]:
    """Read `COLUMNS="user=customer item=sku"`.

    Raises:
        ValueError: If a part is no assignment, or the role is unknown.

    >>> parse_columns("user=customer item=sku")
    {'user': 'customer', 'item': 'sku'}
    """
    found = {}
    for part in re.findall(r'[^\s=]+=(?:"[^"]*"|\S*)|\S+', text):
        role, sign, column = part.partition("=")
        if not sign or role not in ROLES or not column:
            wanted = f"role=column, with a role of {', '.join(ROLES)}"
            raise ValueError(f"COLUMNS must read {wanted}; got {part!r}")
        found[role] = column.strip('"')
    return found


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", _untyped(name)).lower()


def _untyped(name: str) -> str:
    return re.sub(r":(token|float)(_seq)?$", "", name)
