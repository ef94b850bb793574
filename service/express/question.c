/* Questions as Python sees them: see `_express.pyi`. */

#include "question.h"

#include <math.h>
#include <string.h>

Question *new_question(PyObject *body) {
    Question *question = PyObject_New(Question, &QuestionType);
    if (!question) return NULL;
    memset((char *)question + sizeof(PyObject), 0, sizeof(Question) - sizeof(PyObject));
    question->levels_count = -1;
    question->body = Py_NewRef(body);
    /* A value and what divides it from the next one are two bytes or more. */
    size_t most = (size_t)PyBytes_GET_SIZE(body) / 2 + 1;
    question->values = PyMem_Malloc(most * sizeof(float));
    if (!question->values) {
        Py_DECREF(question);
        return (Question *)PyErr_NoMemory();
    }
    return question;
}

bool add_series(Question *question, Series series) {
    if (question->count == question->room) {
        Py_ssize_t room = question->room ? 4 * question->room : 1;
        Series *grown = PyMem_Realloc(question->series, (size_t)room * sizeof(Series));
        if (!grown) {
            PyErr_NoMemory();
            return false;
        }
        question->series = grown;
        question->room = room;
    }
    question->series[question->count++] = series;
    return true;
}

static void question_dealloc(Question *self) {
    Py_XDECREF(self->body);
    PyMem_Free(self->series);
    PyMem_Free(self->values);
    PyObject_Free(self);
}

static Py_ssize_t question_length(Question *self) { return self->count; }

static PyObject *text_of(Span span) {
    if (!span.from) Py_RETURN_NONE;
    return PyUnicode_DecodeUTF8(span.from, span.size, NULL);
}

static PyObject *question_name(Question *self, void *unused) {
    (void)unused;
    return text_of(self->name);
}

static PyObject *question_horizon(Question *self, void *unused) {
    (void)unused;
    if (!self->horizon) Py_RETURN_NONE;
    return PyLong_FromLong(self->horizon);
}

static PyObject *question_levels(Question *self, void *unused) {
    (void)unused;
    if (self->levels_count < 0) Py_RETURN_NONE;
    PyObject *levels = PyTuple_New(self->levels_count);
    for (Py_ssize_t at = 0; levels && at < self->levels_count; at++) {
        PyObject *level = PyFloat_FromDouble(self->levels[at]);
        if (!level) Py_CLEAR(levels);
        else PyTuple_SET_ITEM(levels, at, level);
    }
    return levels;
}

static PyObject *question_first(Question *self, void *unused) {
    (void)unused;
    return text_of(self->series[0].item_id);
}

static PyObject *question_differ(Question *self, PyObject *unused) {
    (void)unused;
    if (self->count == 1) Py_RETURN_TRUE;
    PyObject *distinct = PySet_New(NULL);
    if (!distinct) return NULL;
    for (Py_ssize_t at = 0; at < self->count; at++) {
        Span item_id = self->series[at].item_id;
        PyObject *one = PyBytes_FromStringAndSize(item_id.from, item_id.size);
        int failed = one ? PySet_Add(distinct, one) : -1;
        Py_XDECREF(one);
        if (failed) {
            Py_DECREF(distinct);
            return NULL;
        }
    }
    bool differ = PySet_GET_SIZE(distinct) == self->count;
    Py_DECREF(distinct);
    return PyBool_FromLong(differ);
}

static PyObject *question_has_freq(Question *self, PyObject *freq) {
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(freq, &size);
    if (!text) return NULL;
    for (Py_ssize_t at = 0; at < self->count; at++) {
        Span said = self->series[at].freq;
        if (said.from && (said.size != size || memcmp(said.from, text, (size_t)size)))
            Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
}

static PyObject *question_fits(Question *self, PyObject *args) {
    Py_ssize_t fewest, most, newest;
    if (!PyArg_ParseTuple(args, "nnn", &fewest, &most, &newest)) return NULL;
    if (self->steps > most) Py_RETURN_FALSE;
    for (Py_ssize_t at = 0; at < self->count; at++) {
        Series one = self->series[at];
        if (one.length < fewest || one.length > most) Py_RETURN_FALSE;
        const float *end = self->values + one.first + one.length;
        const float *value = end - (one.length > newest ? newest : one.length);
        while (value < end && isnan(*value)) value++;
        if (value == end) Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
}

static PyObject *question_times(Question *self, PyObject *unused) {
    (void)unused;
    PyObject *times = PyList_New(self->count);
    for (Py_ssize_t at = 0; times && at < self->count; at++) {
        Series one = self->series[at];
        PyObject *time = Py_BuildValue("s#n", one.start.from, one.start.size, one.length);
        if (!time) Py_CLEAR(times);
        else PyList_SET_ITEM(times, at, time);
    }
    return times;
}

static PyGetSetDef question_attributes[] = {
    {"name", (getter)question_name, NULL, NULL, NULL},
    {"horizon", (getter)question_horizon, NULL, NULL, NULL},
    {"levels", (getter)question_levels, NULL, NULL, NULL},
    {"first", (getter)question_first, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef question_methods[] = {
    {"differ", (PyCFunction)question_differ, METH_NOARGS, NULL},
    {"has_freq", (PyCFunction)question_has_freq, METH_O, NULL},
    {"fits", (PyCFunction)question_fits, METH_VARARGS, NULL},
    {"times", (PyCFunction)question_times, METH_NOARGS, NULL},
    {"rows", (PyCFunction)group_rows, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods question_sequence = {.sq_length = (lenfunc)question_length};

PyTypeObject QuestionType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "service.express._express.Question",
    .tp_basicsize = sizeof(Question),
    .tp_dealloc = (destructor)question_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_sequence = &question_sequence,
    .tp_methods = question_methods,
    .tp_getset = question_attributes,
};
