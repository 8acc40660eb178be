#!/bin/sh
# Imports the sample collection into a temporary knowledge base and asks it questions.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
KB_HOME=$(mktemp -d)
export KB_HOME
trap 'rm -rf "$KB_HOME"' EXIT
cp "$here/config.toml" "$KB_HOME"

say() { printf '\n$ kb %s\n' "$1"; }

say 'import data/articles.csv'
kb import "$here/data/articles.csv" --format table

say 'search "how do transformers know the order of words" -k 3'
kb search "how do transformers know the order of words" -k 3 --format table

say "search \"make queries faster\" --where 'category = \"databases\" and rating >= 4' -k 3"
kb search "make queries faster" --where 'category = "databases" and rating >= 4' -k 3 --format table

say 'search "is it safe to load a pickle from a stranger" --min-score 0.4'
kb search "is it safe to load a pickle from a stranger" --min-score 0.4 --format table

say 'search "how long should I boil an egg" --min-score 0.4'
kb search "how long should I boil an egg" --min-score 0.4 --format table

say 'search "\"gradient descent\" in plain words" -k 2 --explain'
kb search '"gradient descent" in plain words' -k 2 --explain --format table

say 'similar security-11 -k 2'
kb similar security-11 -k 2 --format table

say 'import data/articles.csv   # again: nothing is embedded twice'
kb import "$here/data/articles.csv" --format table

say 'stats'
kb stats --format table
