# Each target is one line: the command cifar-course does the work, also without make and on Windows.
PYTHON ?= python3
PROFILE ?= quick
ifeq ($(OS),Windows_NT)
  PYTHON := $(if $(filter python3,$(PYTHON)),py,$(PYTHON))
  COURSE := .venv/Scripts/cifar-course
else
  COURSE := .venv/bin/cifar-course
endif

.DEFAULT_GOAL := help
.PHONY: help ready install data train analysis run lab bench refresh reference book pictures test test-fast faults
.PHONY: clean remove doctor

help: ; @$(PYTHON) -m cifar_utils.course --help
ready: ; @$(PYTHON) -m cifar_utils.course install $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))
install: ready
data: ready ; @$(COURSE) data
train: ready ; @$(COURSE) train --profile $(PROFILE)
analysis: ready ; @$(COURSE) analysis
run: ready ; @$(COURSE) run --profile $(PROFILE) $(ARGS)
lab: ready ; @$(COURSE) lab
bench: ready ; @$(COURSE) bench
refresh: ready ; @$(COURSE) refresh --profile $(PROFILE)
reference: ready ; @$(COURSE) reference $(ARGS)
book: ready ; @$(COURSE) book --profile $(PROFILE) $(ARGS)
pictures: ready ; @$(COURSE) pictures
test: ready ; @$(COURSE) test
test-fast: ready ; @$(COURSE) test-fast
faults: ready ; @$(COURSE) faults $(ARGS)
clean: ; @$(PYTHON) -m cifar_utils.course clean
remove: ; @$(PYTHON) -m cifar_utils.course remove
doctor: ; @$(PYTHON) -m cifar_utils.course doctor
