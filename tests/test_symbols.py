"""What a file defines, imports and uses: one small realistic source for each language.

A symbol is written as `kind scope name first-last`, with lines from 1 as an editor shows them.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import pytest

from tabby_lsp.index.chunks import MOST_CHUNK_LINES
from tabby_lsp.index.parts import MOST_DOC, MOST_SIGNATURE
from tabby_lsp.index.symbols import Import, Outline, Symbol, outline
from tabby_lsp.text import split_lines

PYTHON = '''\
import os.path
import numpy as np
from a.b import c, d as e
from . import *

LIMIT = 10
value: int = 3


@register("x")
# why it is there
class Shape(Base):
    """A shape.

    More about it.
    """

    sides = 4

    @property
    def area(self) -> float:
        return compute(self.width)

    class Inner:
        def run(self): pass


async def main(
    argument: str,
) -> None:
    """Runs."""
    def helper():
        return argument
    await helper()
'''

JAVASCRIPT = """\
import def, { a, b as c } from "./x";
import * as ns from 'y';
const fs = require("fs");

export const LIMIT = 10;
let state = {};

/**
 * Adds two numbers.
 * @param a the first
 */
export function add(a, b) {
  return a + b;
}

const twice = (x) => add(x, x);

export default class Counter extends Base {
  count = 0;
  #hidden() {}
  increment(by) {
    this.count += by;
    return ns.log(this.count);
  }
}

module.exports.helper = function (x) {
  return fs.read(x);
};
"""

TYPESCRIPT = """\
import { Thing } from "./thing";

export interface Options {
  depth: number;
  visit(node: Thing): void;
}

type Id = string | number;
enum Color { Red, Green }

namespace Tools {
  export function clean(id: Id): Id {
    return trim(id);
  }
}

export abstract class Store<T> {
  private items: T[] = [];
  abstract load(id: Id): T;
  get(id: Id): T {
    return this.items[0];
  }
}

export const make = async <T,>(options: Options): Promise<T> => {
  return build(options);
};
"""

GO = """\
package main

import (
	"fmt"
	str "strings"
)

const Limit = 10

var state int

// Shape has an area.
// And more.
type Shape interface {
	Area() float64
}

type Square struct {
	Side float64
}

// Area of it.
func (s *Square) Area() float64 {
	return s.Side * s.Side
}

func main() {
	fmt.Println(str.ToUpper("x"), helper())
}
"""

RUST = """\
use std::collections::HashMap;
use crate::a::{b, c as d};
use std::io;

const LIMIT: usize = 10;

/// A point.
#[derive(Debug)]
pub struct Point {
    x: f64,
}

pub trait Shape {
    fn area(&self) -> f64;
}

impl Shape for Point {
    fn area(&self) -> f64 {
        compute(self.x)
    }
}

enum Kind { A, B }

mod inner {
    pub fn helper() -> HashMap<u8, u8> { HashMap::new() }
}

macro_rules! square {
    ($x:expr) => { $x * $x };
}
"""

JAVA = """\
package com.example;

import java.util.List;
import java.io.*;

/** Counts things. */
@Service
public class Counter implements Runnable {
    private static final int LIMIT = 10;
    private List<String> items;

    public Counter(int start) {
        this.items = make(start);
    }

    @Override
    public void run() {
        items.clear();
    }

    interface Listener {
        void changed(int value);
    }
}

enum Color { RED, GREEN }
"""

C = """\
#include <stdio.h>
#include "own.h"

#define LIMIT 10
#define SQUARE(x) ((x) * (x))

typedef unsigned int uint;

struct point {
    int x;
};

typedef struct {
    int y;
} other;

static int counter = 0;

int add(int a, int b);

/* Adds. */
int add(int a, int b)
{
    return a + helper(b);
}

static char *name(struct point *p) {
    return p->label;
}
"""

CPP = """\
#include <vector>

namespace shapes {

using Id = int;

template <typename T>
class Box : public Base {
public:
    explicit Box(T value);
    int size() const { return count_; }

private:
    int count_;
};

enum class Color { Red };

}  // namespace shapes

int shapes::Other::area(int x) const {
    return compute(x);
}

template <typename T>
T largest(const std::vector<T>& values) {
    return values[0];
}
"""

CSHARP = """\
using System.Text;
using IO = System.IO;

namespace App.Models
{
    /// <summary>A user.</summary>
    [Serializable]
    public class User : Base
    {
        private const int Limit = 10;
        public string Name { get; set; }

        public User(string name)
        {
            Name = Clean(name);
        }

        public int Size() => Name.Length;
    }

    public interface IStore
    {
        User Load(int id);
    }

    enum Color { Red }
}
"""

RUBY = """\
require "json"
require_relative 'helper'

module Shapes
  LIMIT = 10

  # A square.
  class Square < Base
    def initialize(side)
      @side = side
    end

    def self.unit
      new(1)
    end

    def big?
      measure(@side) > LIMIT
    end
  end
end

def top(x) = x
"""

PHP = """\
<?php
namespace App\\Models;

use App\\Base\\Model;
use App\\Other as Alias;

const LIMIT = 10;

/**
 * A user.
 */
class User extends Model implements Named
{
    const SIZE = 1;
    private string $name;

    public function __construct(string $name)
    {
        $this->name = clean($name);
    }
}

interface Named
{
    public function name(): string;
}

function helper(int $x): int
{
    return compute($x);
}
"""

SAMPLES: dict[str, tuple[str, str, list[Import], list[str]]] = {
    "python": (
        PYTHON,
        """
        constant LIMIT 6-6
        variable value 7-7
        class Shape 10-25
        variable Shape.sides 18-18
        method Shape.area 20-22
        class Shape.Inner 24-25
        method Shape.Inner.run 25-25
        function main 28-34
        function main.helper 32-33
        """,
        [
            Import("os.path", ()),
            Import("numpy", (), "np"),
            Import("a.b", ("c",)),
            Import("a.b", ("d",), "e"),
            Import(".", ("*",)),
        ],
        ["register", "Base", "property", "compute", "width", "helper"],
    ),
    "javascript": (
        JAVASCRIPT,
        """
        constant LIMIT 5-5
        variable state 6-6
        function add 8-14
        function twice 16-16
        class Counter 18-25
        variable Counter.count 19-19
        method Counter.#hidden 20-20
        method Counter.increment 21-24
        function helper 27-29
        """,
        [
            Import("./x", ("def", "a")),
            Import("./x", ("b",), "c"),
            Import("y", (), "ns"),
            Import("fs", (), "fs"),
        ],
        ["Base", "ns", "log", "module", "exports", "read"],
    ),
    "typescript": (
        TYPESCRIPT,
        """
        class Options 3-6
        variable Options.depth 4-4
        method Options.visit 5-5
        type Id 8-8
        class Color 9-9
        module Tools 11-15
        function Tools.clean 12-14
        class Store 17-23
        variable Store.items 18-18
        method Store.load 19-19
        method Store.get 20-22
        function make 25-27
        """,
        [Import("./thing", ("Thing",))],
        ["Thing", "Id", "trim", "Promise", "build"],
    ),
    "go": (
        GO,
        """
        constant Limit 8-8
        variable state 10-10
        class Shape 12-16
        method Shape.Area 15-15
        class Square 18-20
        method Square.Area 22-25
        function main 27-29
        """,
        [Import("fmt", ()), Import("strings", (), "str")],
        ["float64", "Side", "Square", "fmt", "Println", "ToUpper", "helper"],
    ),
    "rust": (
        RUST,
        """
        constant LIMIT 5-5
        class Point 7-11
        class Shape 13-15
        method Shape.area 14-14
        method Point.area 18-20
        class Kind 23-23
        module inner 25-27
        function inner.helper 26-26
        function square 29-31
        """,
        [
            Import("std::collections", ("HashMap",)),
            Import("crate::a", ("b",)),
            Import("crate::a", ("c",), "d"),
            Import("std", ("io",)),
        ],
        ["Debug", "Shape", "Point", "compute", "HashMap", "new"],
    ),
    "java": (
        JAVA,
        """
        class Counter 6-24
        constant Counter.LIMIT 9-9
        variable Counter.items 10-10
        method Counter.Counter 12-14
        method Counter.run 16-19
        class Counter.Listener 21-23
        method Counter.Listener.changed 22-22
        class Color 26-26
        """,
        [Import("java.util.List", ("List",)), Import("java.io", ("*",))],
        ["Service", "Runnable", "List", "make", "clear"],
    ),
    "c": (
        C,
        """
        constant LIMIT 4-4
        function SQUARE 5-5
        type uint 7-7
        class point 9-11
        class other 13-15
        variable counter 17-17
        function add 19-19
        function add 21-25
        function name 27-29
        """,
        [Import("stdio.h", ()), Import("own.h", ())],
        ["helper", "point", "label"],
    ),
    "cpp": (
        CPP,
        """
        module shapes 3-19
        type shapes.Id 5-5
        class shapes.Box 7-15
        method shapes.Box.Box 10-10
        method shapes.Box.size 11-11
        variable shapes.Box.count_ 14-14
        class shapes.Color 17-17
        method shapes.Other.area 21-23
        function largest 25-28
        """,
        [Import("vector", ())],
        ["Base", "compute", "std", "vector", "values"],
    ),
    "csharp": (
        CSHARP,
        """
        module App.Models 4-27
        class App.Models.User 6-19
        variable App.Models.User.Limit 10-10
        variable App.Models.User.Name 11-11
        method App.Models.User.User 13-16
        method App.Models.User.Size 18-18
        class App.Models.IStore 21-24
        method App.Models.IStore.Load 23-23
        class App.Models.Color 26-26
        """,
        [Import("System.Text", ()), Import("System.IO", (), "IO")],
        ["Serializable", "Base", "Clean", "Length"],
    ),
    "ruby": (
        RUBY,
        """
        module Shapes 4-21
        constant Shapes.LIMIT 5-5
        class Shapes.Square 7-20
        method Shapes.Square.initialize 9-11
        method Shapes.Square.unit 13-15
        method Shapes.Square.big? 17-19
        function top 23-23
        """,
        [Import("json", ()), Import("helper", ())],
        ["Base", "new", "measure", "LIMIT"],
    ),
    "php": (
        PHP,
        """
        constant LIMIT 7-7
        class User 9-21
        constant User.SIZE 14-14
        variable User.name 15-15
        method User.__construct 17-20
        class Named 23-26
        method Named.name 25-25
        function helper 28-31
        """,
        [Import("App\\Base\\Model", ("Model",)), Import("App\\Other", ("Other",), "Alias")],
        ["Model", "Named", "clean", "compute"],
    ),
}


def written(symbol: Symbol) -> str:
    name = f"{symbol.scope}.{symbol.name}" if symbol.scope else symbol.name
    return f"{symbol.kind} {name} {symbol.first + 1}-{symbol.last + 1}"


def listed(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def check(text: str, language: str, expected: str, parsed: bool = True) -> Outline:
    found = outline(text, language)
    assert found.parsed is parsed
    assert [written(each) for each in found.symbols] == listed(expected)
    return found


def symbol(found: Outline, name: str) -> Symbol:
    return next(each for each in found.symbols if each.name == name)


@pytest.mark.parametrize("language", SAMPLES)
def test_what_a_file_defines_imports_and_uses(language: str) -> None:
    text, symbols, imports, references = SAMPLES[language]
    found = check(text, language, symbols)
    assert list(found.imports) == imports
    assert set(references) <= set(found.references)
    assert len(set(found.references)) == len(found.references)
    assert all(re.fullmatch(r"[^\W\d][\w$]*[?!]?", each) for each in found.references)


@pytest.mark.parametrize(("language", "like"), [("javascriptreact", "javascript"), ("typescriptreact", "typescript")])
def test_the_languages_with_markup_are_read_as_those_without(language: str, like: str) -> None:
    text = SAMPLES[like][0]
    assert outline(text, language) == outline(text, like)
    found = outline("export const App = () => {\n  return <Box title={name}>text</Box>;\n};\n", language)
    assert [written(each) for each in found.symbols] == ["function App 1-3"]
    assert {"Box", "name"} <= set(found.references) and "text" not in found.references


SIGNATURES = [
    ("python", PYTHON, "Shape", "class Shape(Base):", "A shape."),
    ("python", PYTHON, "main", "async def main(\n    argument: str,\n) -> None:", "Runs."),
    ("python", PYTHON, "area", "def area(self) -> float:", ""),
    ("javascript", JAVASCRIPT, "add", "export function add(a, b)", "Adds two numbers."),
    ("javascript", JAVASCRIPT, "twice", "const twice = (x) =>", ""),
    ("javascript", JAVASCRIPT, "Counter", "export default class Counter extends Base", ""),
    ("typescript", TYPESCRIPT, "load", "abstract load(id: Id): T", ""),
    ("go", GO, "Shape", "type Shape interface", "Shape has an area. And more."),
    ("rust", RUST, "Point", "pub struct Point", "A point."),
    ("java", JAVA, "Counter", "@Service\npublic class Counter implements Runnable", "Counts things."),
    ("c", C, "name", "static char *name(struct point *p)", ""),
    ("cpp", CPP, "largest", "template <typename T>\nT largest(const std::vector<T>& values)", ""),
    ("cpp", CPP, "Box", "template <typename T>\nclass Box : public Base", ""),
    ("csharp", CSHARP, "Size", "public int Size()", ""),
    ("csharp", CSHARP, "User", "[Serializable]\n    public class User : Base", "A user."),
    ("ruby", RUBY, "Square", "class Square < Base", "A square."),
    ("ruby", RUBY, "unit", "def self.unit", ""),
    ("php", PHP, "User", "class User extends Model implements Named", "A user."),
]


@pytest.mark.parametrize(("language", "text", "name", "signature", "doc"), SIGNATURES)
def test_a_signature_is_the_head_and_a_doc_its_first_paragraph(
    language: str, text: str, name: str, signature: str, doc: str
) -> None:
    found = symbol(outline(text, language), name)
    assert (found.signature, found.doc) == (signature, doc)


def test_definitions_are_not_references_unless_they_are_used() -> None:
    found = outline("def used(): pass\ndef unused(): pass\nused()\n", "python")
    assert found.references == ("used",)


def test_long_heads_and_docs_are_shortened_at_a_word() -> None:
    text = f"def f({', '.join(f'argument{i}' for i in range(200))}):\n    '''{'word ' * 200}'''\n"
    found = symbol(outline(text, "python"), "f")
    assert MOST_SIGNATURE // 2 < len(found.signature) <= MOST_SIGNATURE
    assert MOST_DOC // 2 < len(found.doc) <= MOST_DOC
    assert text.startswith(found.signature) and found.doc.endswith("word")


def test_the_first_of_several_assignments_is_the_definition() -> None:
    check("x = 1\nx = 2\ny = x\n", "python", "variable x 1-1\nvariable y 3-3")


def test_names_of_one_declaration_are_all_found() -> None:
    check("const a = 1, b = 2;\n", "javascript", "constant a 1-1\nconstant b 1-1")
    check("package p\n\nvar (\n\ta, b = 1, 2\n\tc int\n)\n", "go", "variable a 4-4\nvariable b 4-4\nvariable c 5-5")


def test_what_names_itself_twice_is_one_symbol() -> None:
    check("typedef struct node {\n    int x;\n} node;\n", "c", "class node 1-3")
    check("const f = function f() {\n};\n", "javascript", "function f 1-2")


def test_a_comment_behind_code_is_not_the_doc_of_the_next_line() -> None:
    found = check("x = 1  # about x\ny = 2\n", "python", "variable x 1-1\nvariable y 2-2")
    assert symbol(found, "y").doc == ""


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("python", "def a():\n    pass\n\nx = = )(\n\ndef b():\n    pass\n", {"a", "b"}),
        ("javascript", "function a() {}\n\nlet = ) {;\n\nfunction b() {}\n", {"a", "b"}),
        ("go", "package p\n\nfunc a() {}\n\nvar = ) x\n\nfunc b() {}\n", {"a", "b"}),
        ("java", "class A {\n  void a() {}\n  int = );\n  void b() {}\n}\n", {"A", "a", "b"}),
        ("c", "int a(void) { return 1; }\n\nint = );\n\nint b(void) { return 2; }\n", {"a", "b"}),
        ("rust", "fn a() {}\n\nlet = );\n\nfn b() {}\n", {"a", "b"}),
    ],
)
def test_what_stands_around_a_syntax_error_is_found(language: str, text: str, names: set[str]) -> None:
    assert names <= {each.name for each in outline(text, language).symbols}


@pytest.mark.parametrize("language", SAMPLES)
@pytest.mark.parametrize("line_end", ["\r\n", "\r"], ids=["CRLF", "CR"])
def test_line_ends_make_no_difference(language: str, line_end: str) -> None:
    text = SAMPLES[language][0]
    if line_end == "\r" and language in ("c", "cpp"):
        pytest.skip("a macro ends with \\n in these grammars")
    found, usual = outline(text.replace("\n", line_end), language), outline(text, language)
    assert [written(each) for each in found.symbols] == [written(each) for each in usual.symbols]
    assert [each.doc for each in found.symbols] == [each.doc for each in usual.symbols]
    assert (found.imports, found.references, found.chunks) == (usual.imports, usual.references, usual.chunks)


def test_text_of_any_script_is_read() -> None:
    text = '# größe 🐍\ndef größe(名前):\n    """Die Größe 🐍."""\n    return zähle(名前, "日本")\n'
    found = check(text, "python", "function größe 1-4")
    assert found.references == ("名前", "zähle")
    assert (found.symbols[0].signature, found.symbols[0].doc) == ("def größe(名前):", "Die Größe 🐍.")


def test_a_header_that_is_not_c_is_read_as_c_plus_plus() -> None:
    text = "namespace a {\nclass B {\npublic:\n    int size() const;\n};\n}\n"
    check(text, "c", "module a 1-6\nclass a.B 2-5\nmethod a.B.size 4-4")


def test_what_stands_behind_an_open_bracket_is_found_by_its_lines() -> None:
    text = "class A:\n    def f(self):\n        g(\n\n    def h(self):\n        pass\n\n\ndef last():\n    pass\n"
    found = outline(text, "python")
    assert found.parsed
    assert ("h", "last") == tuple(each.name for each in found.symbols)[-2:]
    assert symbol(found, "last").last == 9
    assert "def" not in found.references and "g" in found.references


FALLBACKS = [
    (
        "lua",
        'local json = require("json")\n\n-- Adds.\nlocal function add(a, b)\n  return plus(a, b)\nend\n\n'
        "function M.run(x)\n  if x then\n    go(x)\n  end\nend\n\nM.other = function(y)\n  return y\nend\n",
        "function add 3-6\nmethod M.run 8-12\nmethod M.other 14-16",
        [Import("json", (), "json")],
        {"plus", "go"},
    ),
    (
        "shellscript",
        'source ./lib.sh\n\n# Builds it.\nbuild() {\n  compile "$1"\n}\n\nfunction deploy {\n  upload\n}\nbuild x\n',
        "function build 3-6\nfunction deploy 8-10",
        [Import("./lib.sh", ())],
        {"compile", "upload", "build"},
    ),
    (
        "kotlin",
        "package a.b\n\nimport c.d.E\n\nconst val LIMIT = 10\n\n/** A user. */\n@Serializable\n"
        "data class User(val name: String) {\n    override fun show(\n        x: Int,\n    ): String {\n"
        '        return clean(name)\n    }\n\n    companion object {\n        fun make() = User("")\n    }\n}\n\n'
        "fun String.twice(): String = this + this\n",
        "module a.b 1-1\nconstant LIMIT 5-5\nclass User 7-19\nmethod User.show 10-14\nmethod User.make 17-17\n"
        "method String.twice 21-21",
        [Import("c.d.E", ())],
        {"clean", "Serializable"},
    ),
    (
        "swift",
        "import Foundation\n\n/// A shape.\npublic struct Shape: Named {\n    let side: Int\n\n"
        "    func area() -> Int {\n        return measure(side)\n    }\n}\n\n"
        "extension Shape {\n    func twice() -> Int { 2 }\n}\n",
        "class Shape 3-10\nmethod Shape.area 7-9\nmethod Shape.twice 13-13",
        [Import("Foundation", ())],
        {"measure", "Named"},
    ),
    (
        "elixir",
        'defmodule App.Store do\n  alias App.Repo\n\n  @doc "Loads."\n  def load(id) do\n    Repo.get(id)\n  end\n\n'
        "  defp key(id), do: to_string(id)\nend\n",
        "module App.Store 1-10\nfunction App.Store.load 4-7\nfunction App.Store.key 9-9",
        [Import("App.Repo", ())],
        {"Repo", "to_string"},
    ),
    (
        "makefile",
        "CC := gcc\ninclude rules.mk\n\n# Builds.\nall: main.o\n\t$(CC) -o all main.o\n\n"
        ".PHONY: clean\nclean:\n\trm -f all\n",
        "constant CC 1-1\nfunction all 4-6\nfunction clean 9-10",
        [Import("rules.mk", ())],
        {"CC"},
    ),
    (
        "markdown",
        "# Title\n\ntext\n\n## First\n\n```sh\n# not a heading\n```\n\n## Second\n\nmore\n",
        "module Title 1-13\nmodule Title.First 5-9\nmodule Title.Second 11-13",
        [],
        set(),
    ),
    (
        "sql",
        "-- People.\nCREATE TABLE IF NOT EXISTS users (\n  id integer\n);\n\n"
        "create or replace view v as select id from users;\n",
        "class users 1-4\nclass v 6-6",
        [],
        {"id"},
    ),
    (
        "dart",
        "import 'dart:io';\n\nclass Box {\n  int size(int x) {\n    return count(x);\n  }\n}\n\n"
        "void main() {\n  run();\n}\n",
        "class Box 3-7\nmethod Box.size 4-6\nfunction main 9-11",
        [Import("dart:io", ())],
        {"count", "run"},
    ),
    ("no such language", "fn add(a) {\n  plus(a)\n}\n", "function add 1-3", [], {"plus", "a"}),
]


@pytest.mark.parametrize(
    ("language", "text", "symbols", "imports", "references"), FALLBACKS, ids=[each[0] for each in FALLBACKS]
)
def test_without_a_grammar_lines_are_read(
    language: str, text: str, symbols: str, imports: list[Import], references: set[str]
) -> None:
    found = check(text, language, symbols, parsed=False)
    assert list(found.imports) == imports
    assert references <= set(found.references)
    assert {"return", "if", "end", "import"}.isdisjoint(found.references)


def test_lines_give_docs_and_signatures_too() -> None:
    found = outline(FALLBACKS[0][1], "lua")
    assert (symbol(found, "add").signature, symbol(found, "add").doc) == ("local function add(a, b)", "Adds.")
    found = outline(FALLBACKS[2][1], "kotlin")
    assert (symbol(found, "User").signature, symbol(found, "User").doc) == (
        "data class User(val name: String)",
        "A user.",
    )


@pytest.mark.parametrize("text", ["x = 1\n", "x", "local x = 1\n"])
def test_the_lua_that_its_grammar_never_ends_with_is_read(text: str) -> None:
    found = outline(text, "lua")
    assert found.references == ("x",)
    assert found.chunks == ((0, 0),)


def test_a_file_that_its_grammar_cannot_read_is_read_by_its_lines() -> None:
    text = "def f(x):\n    return g(x)\n\n" + "(" * 60_000 + "\n"
    found = outline(text, "python")
    assert not found.parsed
    assert [written(each) for each in found.symbols] == ["function f 1-2"]


@pytest.mark.parametrize("language", [*SAMPLES, "lua", "plaintext", "markdown", "makefile", ""])
@pytest.mark.parametrize(
    "text", ["", "\n", "\n\n  \n", "\x00\x01", "\udcff" * 50, "}" * 300, "{" * 300, "a" * 100_000, "x\r\r\n\ry"]
)
def test_no_text_makes_it_fail(language: str, text: str) -> None:
    check_chunks(text, language)


def test_nesting_without_end_costs_no_memory() -> None:
    text = "".join(f"{' ' * i}class C{i}:\n" for i in range(300))
    assert max(len(each.scope) for each in outline(text, "no such language").symbols) < 200


def filled(text: str) -> list[int]:
    return [number for number, line in enumerate(split_lines(text)) if line.strip()]


def covered(found: Outline) -> list[int]:
    return [line for first, last in found.chunks for line in range(first, last + 1)]


def check_chunks(text: str, language: str) -> Outline:
    """Every line with content is in one chunk, in order, and no chunk begins or ends with a blank one."""
    found = outline(text, language)
    content = set(filled(text))
    lines = covered(found)
    assert lines == sorted(set(lines))
    assert content <= set(lines)
    assert all(first in content and last in content for first, last in found.chunks)
    return found


@pytest.mark.parametrize("language", SAMPLES)
def test_chunks_cover_every_line_once(language: str) -> None:
    found = check_chunks(SAMPLES[language][0], language)
    assert len(found.chunks) > 2 or language == "csharp"


@pytest.mark.parametrize("case", FALLBACKS, ids=[each[0] for each in FALLBACKS])
def test_chunks_of_lines_cover_every_line_once(case: tuple[str, str, str, list[Import], set[str]]) -> None:
    check_chunks(case[1], case[0])


LIBRARY = ["argparse.py", "ast.py", "json/decoder.py", "typing.py", "this.py", "keyword.py", "subprocess.py"]


@pytest.mark.parametrize("name", LIBRARY)
def test_python_s_own_library_is_read_as_python_reads_it(name: str) -> None:
    text = Path(os.__file__).parent.joinpath(name).read_text(encoding="utf-8")
    found = check_chunks(text, "python")
    assert max((last - first for first, last in found.chunks), default=0) < MOST_CHUNK_LINES + 3
    wanted = {
        (node.name, node.end_lineno)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    }
    kinds = ("class", "function", "method")
    assert {(each.name, each.last + 1) for each in found.symbols if each.kind in kinds} == wanted
    without_grammar = check_chunks(text, "no such language")
    assert not without_grammar.parsed


def test_a_short_class_is_one_chunk_and_a_long_one_is_cut_at_its_methods() -> None:
    def source(methods: int) -> str:
        return "import a\nx = 1\n\n\nclass C:\n    y = 2\n\n" + "".join(
            f"    def m{i}(self):\n        a()\n        return {i}\n\n" for i in range(methods)
        )

    assert outline(source(3), "python").chunks == ((0, 1), (4, 17))
    cut = outline(source(20), "python").chunks
    assert cut[:4] == ((0, 1), (4, 5), (7, 9), (11, 13))
    assert len(cut) == 22


def test_a_long_function_is_cut_at_blank_lines() -> None:
    text = "def f():\n" + "".join(f"    a({i})\n" if i % 10 else "\n" for i in range(1, 150))
    chunks = check_chunks(text, "python").chunks
    lines = split_lines(text)
    assert len(chunks) == 3
    assert all(not lines[first - 1].strip() for first, _ in chunks[1:])


def test_lines_without_any_break_are_cut_all_the_same() -> None:
    chunks = check_chunks("".join(f"x{i} = {i}\n" for i in range(1000)), "python").chunks
    assert max(last - first for first, last in chunks) < MOST_CHUNK_LINES


def test_the_end_of_what_was_cut_stays_with_it() -> None:
    methods = "".join(f"  void m{i}() {{\n    a();\n    b();\n  }}\n" for i in range(30))
    chunks = check_chunks(f"class A {{\n{methods}}}\n", "java").chunks
    assert chunks[-1] == (117, 121)
