/* The rows of a question as the engine sees them: by bucket, written when a batch takes them. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "question.h"

/* Rows of one bucket. */
typedef struct {
    PyObject_HEAD
    Question *question;
    Py_ssize_t most;   /* steps of a series that the model looks at */
    PyObject *shape;   /* steps of a row in a batch */
    PyObject *places;  /* list: which rows of the request they are */
    PyObject *seconds; /* list of int64 arrays, one for each row of the request; or None */
} Rows;

static void rows_dealloc(Rows *self) {
    Py_XDECREF(self->question);
    Py_XDECREF(self->shape);
    Py_XDECREF(self->places);
    Py_XDECREF(self->seconds);
    PyObject_Free(self);
}

static Py_ssize_t rows_length(Rows *self) { return PyList_GET_SIZE(self->places); }

static Rows *new_rows(Question *question, Py_ssize_t most, Py_ssize_t padded, PyObject *seconds) {
    Rows *rows = PyObject_New(Rows, &RowsType);
    if (!rows) return NULL;
    rows->question = (Question *)Py_NewRef(question);
    rows->most = most;
    rows->seconds = Py_NewRef(seconds);
    rows->shape = PyLong_FromSsize_t(padded);
    rows->places = PyList_New(0);
    if (rows->shape && rows->places) return rows;
    Py_DECREF(rows);
    return NULL;
}

/* The group of a bucket among those that there are, or a new one; borrowed. */
static Rows *group_of(PyObject *groups, Question *question, Py_ssize_t most, Py_ssize_t padded,
                      PyObject *seconds) {
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(groups); at++) {
        Rows *rows = (Rows *)PyList_GET_ITEM(groups, at);
        if (PyLong_AsSsize_t(rows->shape) == padded) return rows;
    }
    Rows *rows = new_rows(question, most, padded, seconds);
    int failed = rows ? PyList_Append(groups, (PyObject *)rows) : -1;
    Py_XDECREF(rows);
    return failed ? NULL : rows;
}

PyObject *group_rows(Question *self, PyObject *args) {
    Py_buffer buckets;
    PyObject *seconds = Py_None;
    if (!PyArg_ParseTuple(args, "y*|O", &buckets, &seconds)) return NULL;
    Py_ssize_t most = buckets.len / (Py_ssize_t)sizeof(int64_t) - 1; /* the context length */
    if (most < 0) {
        PyBuffer_Release(&buckets);
        return PyErr_Format(PyExc_ValueError, "there are no buckets");
    }
    PyObject *groups = PyList_New(0);
    for (Py_ssize_t at = 0; groups && at < self->count; at++) {
        Py_ssize_t length = self->series[at].length;
        int64_t padded = ((int64_t *)buckets.buf)[length < most ? length : most];
        Rows *rows = group_of(groups, self, most, (Py_ssize_t)padded, seconds);
        PyObject *place = rows ? PyLong_FromSsize_t(at) : NULL;
        if (!place || PyList_Append(rows->places, place)) Py_CLEAR(groups);
        Py_XDECREF(place);
    }
    PyBuffer_Release(&buckets);
    return groups;
}

/* An array of a batch's memory: writable, C-contiguous, of the wanted axes and size of element. */
static bool open_array(PyObject *array, Py_buffer *view, int axes, Py_ssize_t itemsize) {
    if (PyObject_GetBuffer(array, view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)) return false;
    if (view->ndim == axes && view->itemsize == itemsize) return true;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_ValueError, "the memory of the batch is not that of these rows");
    return false;
}

/* The moments of one row, and zeros behind them. */
static bool write_seconds(PyObject *seconds, Py_ssize_t place, Py_buffer *moments, Py_ssize_t at) {
    Py_buffer view;
    if (!PyList_Check(seconds) || place >= PyList_GET_SIZE(seconds)) {
        PyErr_SetString(PyExc_ValueError, "these rows have no timestamps");
        return false;
    }
    PyObject *own = PyList_GET_ITEM(seconds, place);
    if (PyObject_GetBuffer(own, &view, PyBUF_SIMPLE)) return false;
    Py_ssize_t width = moments->shape[1] * moments->itemsize;
    char *row = (char *)moments->buf + at * width;
    bool fits = view.len <= width;
    if (fits) {
        memcpy(row, view.buf, (size_t)view.len);
        memset(row + view.len, 0, (size_t)(width - view.len));
    } else {
        PyErr_SetString(PyExc_ValueError, "there are more timestamps than a row has steps");
    }
    PyBuffer_Release(&view);
    return fits;
}

/* The newest steps of one row, and nothing behind them; how many they are. */
static int64_t write_values(Rows *rows, Py_ssize_t place, float *row, Py_ssize_t width) {
    Series one = rows->question->series[place];
    Py_ssize_t most = rows->most < width ? rows->most : width;
    Py_ssize_t kept = one.length < most ? one.length : most;
    memcpy(row, rows->question->values + one.first + one.length - kept, (size_t)kept * sizeof(float));
    for (Py_ssize_t step = kept; step < width; step++) row[step] = NAN;
    return kept;
}

static PyObject *rows_write(Rows *self, PyObject *const *args, Py_ssize_t count) {
    if (count != 4 || !PyTuple_Check(args[2]) || PyTuple_GET_SIZE(args[2]) < 2)
        return PyErr_Format(PyExc_TypeError, "write(start, stop, memory, at)");
    Py_ssize_t start = PyLong_AsSsize_t(args[0]), stop = PyLong_AsSsize_t(args[1]);
    Py_ssize_t at = PyLong_AsSsize_t(args[3]);
    PyObject *memory = args[2];
    if (PyErr_Occurred()) return NULL;
    Py_buffer context, lengths, moments = {0};
    if (!open_array(PyTuple_GET_ITEM(memory, 0), &context, 2, sizeof(float))) return NULL;
    if (!open_array(PyTuple_GET_ITEM(memory, 1), &lengths, 1, sizeof(int64_t))) {
        PyBuffer_Release(&context);
        return NULL;
    }
    bool good = true, dated = PyTuple_GET_SIZE(memory) > 2;
    if (dated) good = open_array(PyTuple_GET_ITEM(memory, 2), &moments, 2, sizeof(int64_t));
    Py_ssize_t width = context.shape[1];
    if (good && (start < 0 || stop > rows_length(self) || at < 0 ||
                 at + stop - start > context.shape[0] || context.shape[0] != lengths.shape[0])) {
        PyErr_SetString(PyExc_IndexError, "there are no such rows");
        good = false;
    }
    for (Py_ssize_t row = start; good && row < stop; row++, at++) {
        Py_ssize_t place = PyLong_AsSsize_t(PyList_GET_ITEM(self->places, row));
        float *values = (float *)context.buf + at * width;
        ((int64_t *)lengths.buf)[at] = write_values(self, place, values, width);
        if (dated) good = write_seconds(self->seconds, place, &moments, at);
    }
    PyBuffer_Release(&context);
    PyBuffer_Release(&lengths);
    if (moments.obj) PyBuffer_Release(&moments);
    if (!good) return NULL;
    Py_RETURN_NONE;
}

static PyObject *rows_shape(Rows *self, void *unused) {
    (void)unused;
    return Py_NewRef(self->shape);
}

static PyObject *rows_places(Rows *self, void *unused) {
    (void)unused;
    return Py_NewRef(self->places);
}

static PyGetSetDef rows_attributes[] = {
    {"shape", (getter)rows_shape, NULL, NULL, NULL},
    {"places", (getter)rows_places, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef rows_methods[] = {
    {"write", (PyCFunction)(void (*)(void))rows_write, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods rows_sequence = {.sq_length = (lenfunc)rows_length};

PyTypeObject RowsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "service.express._express.Rows",
    .tp_basicsize = sizeof(Rows),
    .tp_dealloc = (destructor)rows_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_sequence = &rows_sequence,
    .tp_methods = rows_methods,
    .tp_getset = rows_attributes,
};
