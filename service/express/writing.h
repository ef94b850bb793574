/* The numbers of an answer -> JSON. */
#ifndef GATECAST_WRITING_H
#define GATECAST_WRITING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyTypeObject FormType;

/* Takes an array of float; its numbers as one flat JSON array. */
PyObject *write_numbers(PyObject *module, PyObject *array);

#endif
