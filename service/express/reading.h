/* Bodies of requests in JSON -> questions. */
#ifndef GATECAST_READING_H
#define GATECAST_READING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Each takes the bytes of a body; None stands for all that is not right or not usual. */
PyObject *read_forecast(PyObject *module, PyObject *body);
PyObject *read_tensors(PyObject *module, PyObject *body);

#endif
