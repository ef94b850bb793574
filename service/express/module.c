/* The module `_express`: what it offers to Python stands in `_express.pyi`. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "question.h"
#include "reading.h"
#include "writing.h"

static PyMethodDef functions[] = {
    {"read_forecast", read_forecast, METH_O, NULL},
    {"read_tensors", read_tensors, METH_O, NULL},
    {"write_numbers", write_numbers, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_express",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__express(void) {
    PyTypeObject *types[] = {&QuestionType, &RowsType, &FormType};
    PyObject *module = PyModule_Create(&definition);
    for (size_t at = 0; module && at < sizeof types / sizeof *types; at++)
        if (PyModule_AddType(module, types[at])) Py_CLEAR(module);
    if (module && PyModule_AddIntConstant(module, "MOST_LEVELS", MOST_LEVELS)) Py_CLEAR(module);
    return module;
}
