"""One loaded graph: its session, and scalar scorers bound to their own buffers.

The scalar path binds input and output memory to the session once. A call writes the row, runs the
graph in the caller's thread and reads the answer, with no array made on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from compiler.models.session import open_session, run_rows
from compiler.package import Graph
from compiler.schema import OutputSchema
from serving.types import Outputs, OutputTuple, ScoreError

CHUNK_ROWS = 1000  # the largest run over which bit-equality is proved when a package is built


class Runtime:
    """A session of ``model.onnx`` and what is known about its tensors."""

    def __init__(self, model: bytes, graph: Graph, output: OutputSchema, min_rows: int) -> None:
        self.session = open_session(model)
        self.graph = graph
        self.output = output
        self.min_rows = min_rows
        self.width = int(self.session.get_inputs()[0].shape[1])
        self._names = list(graph.outputs)
        inner = getattr(self.session, "_sess", None)  # the call below the public wrapper's checks
        self._run = self.session.run if inner is None else inner.run
        self._classes = np.asarray(output.classes, dtype=object)

    def run(self, rows: NDArray[np.float32]) -> list[NDArray[Any]]:
        """Raw outputs for any number of rows, shape (n, width); padded where one row differs."""
        count = len(rows)
        if 0 < count <= CHUNK_ROWS and rows.flags.c_contiguous:
            if count < self.min_rows:
                padded = np.zeros((self.min_rows, self.width), np.float32)
                padded[:count] = rows
                rows = padded
            answers: list[NDArray[Any]] = self._run(self._names, {self.graph.input: rows}, None)
            return answers if len(rows) == count else [part[:count] for part in answers]
        return run_rows(
            self.session, self.graph.outputs, rows, min_rows=self.min_rows, chunk=CHUNK_ROWS
        )

    def score(self, rows: NDArray[np.float32]) -> Outputs:
        """Answers for encoded rows, shape (n, width).

        Raises:
            ScoreError: the graph answered NaN.
        """
        return self.outputs(self.run(rows))

    def outputs(self, raw: list[NDArray[Any]]) -> Outputs:
        """Raw outputs in the words of the task."""
        task = self.output.task
        numbers = raw[1] if task == "clustering" else raw[0]
        if isnan(numbers.sum(dtype=np.float64)) and np.isnan(numbers).any():
            row = int(np.flatnonzero(np.isnan(numbers).any(axis=1))[0])
            raise ScoreError("the model answered NaN", at=f"row {row}")
        if task == "classification":
            if len(raw) > 1:
                index = raw[1]
            elif len(self._classes) == 2:
                index = (numbers[:, 1] > numbers[:, 0]).view(np.int8)
            else:
                index = numbers.argmax(axis=1)
            return Outputs(labels=self._classes.take(index), probabilities=raw[0])
        if task == "regression":
            return Outputs(values=raw[0][:, 0])
        return Outputs(clusters=raw[0], distances=raw[1][:, 0])

    def bind(self) -> tuple[NDArray[np.float32], Callable[[], OutputTuple]]:
        """A row to write into and a function that scores what is in it.

        Returns:
            ``row``, shape (width,), float32, and ``score()``. Both belong to one thread.
        """
        rows = max(self.min_rows, 1)
        matrix = np.zeros((rows, self.width), np.float32)
        binding = self.session.io_binding()
        binding.bind_ortvalue_input(
            self.graph.input, onnxruntime.OrtValue.ortvalue_from_numpy(matrix)
        )
        answers = []
        for value in self.session.get_outputs():
            shape = [rows, *(int(size) for size in value.shape[1:])]
            kind = np.int64 if value.type == "tensor(int64)" else np.float32
            answer = np.zeros(shape, kind)
            binding.bind_ortvalue_output(
                value.name, onnxruntime.OrtValue.ortvalue_from_numpy(answer)
            )
            answers.append(answer)
        run = self._runner(binding)
        return matrix[0], _reader(self.output, run, answers, (matrix, binding))

    def _runner(self, binding: Any) -> Callable[[], None]:
        """The session call without the public wrapper's checks, where it exists."""
        inner = getattr(self.session, "_sess", None)
        bound = getattr(binding, "_iobinding", None)
        if inner is None or bound is None:
            return lambda: self.session.run_with_iobinding(binding)
        direct = inner.run_with_iobinding
        return lambda: direct(bound, None)


def _reader(
    output: OutputSchema,
    run: Callable[[], None],
    answers: list[NDArray[Any]],
    keep: tuple[Any, ...],
) -> Callable[[], OutputTuple]:
    """Run and read the first row's answer; ``keep`` holds the bound memory alive."""
    if output.task == "classification":
        return _class_reader(output.classes, run, answers, keep)
    first = answers[0][0]
    if output.task == "regression":

        def value(_keep: Any = keep) -> OutputTuple:
            run()
            number = first.item()
            if isnan(number):
                raise ScoreError("the model answered NaN")
            return (number,)

        return value
    distance = answers[1][0]
    clusters = answers[0]

    def cluster(_keep: Any = keep) -> OutputTuple:
        run()
        number = distance.item()
        if isnan(number):
            raise ScoreError("the model answered NaN")
        return clusters[0].item(), number

    return cluster


def _class_reader(
    classes: tuple[str, ...],
    run: Callable[[], None],
    answers: list[NDArray[Any]],
    keep: tuple[Any, ...],
) -> Callable[[], OutputTuple]:
    read = answers[0][0].tolist
    if len(answers) > 1:
        label = answers[1]

        def labelled(_keep: Any = keep) -> OutputTuple:
            run()
            found = read()
            if isnan(found[0]):
                raise ScoreError("the model answered NaN")
            return classes[label[0]], tuple(found)

        return labelled
    if len(classes) == 2:
        low, high = classes

        def binary(_keep: Any = keep) -> OutputTuple:
            run()
            first, second = read()
            if first >= second:
                return low, (first, second)
            if isnan(first) or isnan(second):
                raise ScoreError("the model answered NaN")
            return high, (first, second)

        return binary

    def many(_keep: Any = keep) -> OutputTuple:
        run()
        found = read()
        top = max(found)
        if isnan(found[0]):
            raise ScoreError("the model answered NaN")
        return classes[found.index(top)], tuple(found)

    return many
