/* The numbers of an answer -> JSON, as the handlers write them.

   Nothing is measured before it is written: memory for the longest numbers there are is taken, and
   what is left over given back. */

#include "writing.h"

#include <string.h>

#include "numbers.h"
#include "question.h"

/* How a forecast is written: which columns of the model's answer, and under which names. */
typedef struct {
    PyObject_HEAD
    Py_ssize_t horizon, median, count;
    Py_ssize_t columns[MOST_LEVELS];
    PyObject *begin;  /* bytes: what stands before the first series */
    PyObject *labels; /* tuple of bytes: JSON texts */
    Py_ssize_t labels_size;
} Form;

static bool open_floats(PyObject *array, Py_buffer *view) {
    if (PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return false;
    if (view->format && !strcmp(view->format, "f")) return true;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_ValueError, "an answer is float32");
    return false;
}

static char *put(char *out, const char *text, Py_ssize_t size) {
    memcpy(out, text, (size_t)size);
    return out + size;
}

static char *put_text(char *out, const char *text) { return put(out, text, (Py_ssize_t)strlen(text)); }

static char *put_bytes(char *out, PyObject *bytes) {
    return put(out, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
}

/* [a,b,...] of every `stride`th number. */
static char *put_numbers(char *out, const float *numbers, Py_ssize_t count, Py_ssize_t stride) {
    *out++ = '[';
    for (Py_ssize_t at = 0; at < count; at++) {
        out = write_number(out, numbers[at * stride]);
        *out++ = ',';
    }
    out[count ? -1 : 0] = ']';
    return count ? out : out + 1;
}

PyObject *write_numbers(PyObject *module, PyObject *array) {
    (void)module;
    Py_buffer view;
    if (!open_floats(array, &view)) return NULL;
    Py_ssize_t count = view.len / (Py_ssize_t)sizeof(float);
    PyObject *text = PyBytes_FromStringAndSize(NULL, count * LONGEST_NUMBER + 2 + SCRATCH);
    if (text) {
        char *begin = PyBytes_AS_STRING(text);
        Py_ssize_t size = put_numbers(begin, view.buf, count, 1) - begin;
        _PyBytes_Resize(&text, size);
    }
    PyBuffer_Release(&view);
    return text;
}

/* One series: {"item_id","timestamps","quantiles":{...},"median"}. */
static char *put_series(char *out, Form *form, Span item_id, PyObject *timestamps,
                        const float *answer, Py_ssize_t columns) {
    out = put_text(out, "{\"item_id\":\"");
    out = put(out, item_id.from, item_id.size);
    out = put_text(out, "\",\"timestamps\":");
    out = put_bytes(out, timestamps);
    out = put_text(out, ",\"quantiles\":{");
    char *median = NULL, *median_end = NULL;
    for (Py_ssize_t at = 0; at < form->count; at++) {
        if (at) *out++ = ',';
        out = put_bytes(out, PyTuple_GET_ITEM(form->labels, at));
        *out++ = ':';
        char *begin = out;
        out = put_numbers(out, answer + form->columns[at], form->horizon, columns);
        if (form->columns[at] == form->median) median = begin, median_end = out;
    }
    out = put_text(out, "},\"median\":");
    if (median) out = put(out, median, median_end - median);
    else out = put_numbers(out, answer + form->median, form->horizon, columns);
    *out++ = '}';
    return out;
}

/* Bytes that a forecast has at the most. */
static Py_ssize_t room_for(Form *form, Question *question, PyObject *timestamps) {
    Py_ssize_t numbers = (form->count + 1) * (form->horizon * LONGEST_NUMBER + 4);
    Py_ssize_t room = PyBytes_GET_SIZE(form->begin) + 4 + SCRATCH;
    for (Py_ssize_t at = 0; at < question->count; at++) {
        PyObject *own = PyList_GET_ITEM(timestamps, at);
        room += 80 + question->series[at].item_id.size + PyBytes_GET_SIZE(own) + numbers;
        room += form->labels_size;
    }
    return room;
}

static bool agrees(Form *form, Question *question, Py_buffer *answer, PyObject *timestamps) {
    bool good = answer->ndim == 3 && answer->shape[0] == question->count &&
                form->horizon <= answer->shape[1] && form->median < answer->shape[2] &&
                PyList_GET_SIZE(timestamps) == question->count;
    for (Py_ssize_t at = 0; good && at < form->count; at++)
        good = form->columns[at] < answer->shape[2];
    for (Py_ssize_t at = 0; good && at < question->count; at++)
        good = PyBytes_Check(PyList_GET_ITEM(timestamps, at)) && question->series[at].item_id.from;
    if (!good) PyErr_SetString(PyExc_ValueError, "these are not the answers to that question");
    return good;
}

static PyObject *form_write(Form *self, PyObject *args) {
    Question *question;
    PyObject *timestamps, *array;
    Py_buffer answer;
    if (!PyArg_ParseTuple(args, "O!O!O", &QuestionType, &question, &PyList_Type, &timestamps,
                          &array))
        return NULL;
    if (!open_floats(array, &answer)) return NULL;
    PyObject *text = NULL;
    if (agrees(self, question, &answer, timestamps))
        text = PyBytes_FromStringAndSize(NULL, room_for(self, question, timestamps));
    if (text) {
        char *out = put_bytes(PyBytes_AS_STRING(text), self->begin);
        Py_ssize_t size = answer.shape[1] * answer.shape[2];
        for (Py_ssize_t at = 0; at < question->count; at++) {
            if (at) *out++ = ',';
            out = put_series(out, self, question->series[at].item_id,
                             PyList_GET_ITEM(timestamps, at), (float *)answer.buf + at * size,
                             answer.shape[2]);
        }
        out = put_text(out, "]}");
        _PyBytes_Resize(&text, out - PyBytes_AS_STRING(text));
    }
    PyBuffer_Release(&answer);
    return text;
}

static int read_columns(Form *form, PyObject *columns) {
    for (Py_ssize_t at = 0; at < form->count; at++) {
        PyObject *label = PyTuple_GET_ITEM(form->labels, at);
        form->columns[at] = PyLong_AsSsize_t(PyTuple_GET_ITEM(columns, at));
        if (PyErr_Occurred()) return -1;
        if (!PyBytes_Check(label) || form->columns[at] < 0) {
            PyErr_SetString(PyExc_ValueError, "labels are bytes, and columns begin at 0");
            return -1;
        }
        form->labels_size += PyBytes_GET_SIZE(label);
    }
    return 0;
}

static PyObject *form_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"begin", "labels", "columns", "median", "horizon", NULL};
    PyObject *begin, *labels, *columns;
    Py_ssize_t median, horizon;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "SO!O!nn", names, &begin, &PyTuple_Type,
                                     &labels, &PyTuple_Type, &columns, &median, &horizon))
        return NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(labels);
    if (count != PyTuple_GET_SIZE(columns) || count > MOST_LEVELS || median < 0 || horizon < 0) {
        PyErr_Format(PyExc_ValueError, "a form has as many labels as columns, at most %d",
                     MOST_LEVELS);
        return NULL;
    }
    Form *form = (Form *)type->tp_alloc(type, 0);
    if (!form) return NULL;
    form->begin = Py_NewRef(begin);
    form->labels = Py_NewRef(labels);
    form->count = count;
    form->median = median;
    form->horizon = horizon;
    if (!read_columns(form, columns)) return (PyObject *)form;
    Py_DECREF(form);
    return NULL;
}

static void form_dealloc(Form *self) {
    Py_XDECREF(self->begin);
    Py_XDECREF(self->labels);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef form_methods[] = {
    {"write", (PyCFunction)form_write, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject FormType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "service.express._express.Form",
    .tp_basicsize = sizeof(Form),
    .tp_dealloc = (destructor)form_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_methods = form_methods,
    .tp_new = form_new,
};
