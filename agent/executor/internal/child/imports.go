package child

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// What a guest exports to be run. One that exports StepFunction is run by it alone, step by step.
const (
	StartFunction      = "_start"
	StepFunction       = "grid_step"
	InitializeFunction = "_initialize" // called once before the first step, if there is one
)

// MissingImportError is a function that a module wants and nobody provides.
type MissingImportError struct {
	Module, Name string
	Known        bool // the name is known, its parameters are not
}

// Error names the function.
func (e *MissingImportError) Error() string {
	if e.Known {
		return fmt.Sprintf("imports %s.%s with other parameters or results than it has", e.Module, e.Name)
	}
	return fmt.Sprintf("imports %s.%s, which nobody provides", e.Module, e.Name)
}

// The errors of modules that export nothing to be run by.
var (
	ErrNoStart = errors.New("exports no function _start, and no grid_step")
	ErrStep    = errors.New("exports grid_step with other parameters or results than () -> i32")
	ErrInit    = errors.New("exports _initialize with parameters or results")
)

// Check returns an error unless every import of the module is one of WASI preview 1 or of grid, and it can be
// started.
func Check(ctx context.Context, r wazero.Runtime, m wazero.CompiledModule) error {
	wasi, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		return err
	}
	grid, err := gridBuilder(r, nil).Compile(ctx)
	if err != nil {
		return err
	}
	provided := map[string]map[string]api.FunctionDefinition{
		wasi_snapshot_preview1.ModuleName: wasi.ExportedFunctions(),
		GridModule:                        grid.ExportedFunctions(),
	}
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		known, ok := provided[module][name]
		if !ok {
			return &MissingImportError{Module: module, Name: name}
		}
		if !slices.Equal(f.ParamTypes(), known.ParamTypes()) || !slices.Equal(f.ResultTypes(), known.ResultTypes()) {
			return &MissingImportError{Module: module, Name: name, Known: true}
		}
	}
	for _, mem := range m.ImportedMemories() {
		module, name, _ := mem.Import()
		return &MissingImportError{Module: module, Name: name}
	}
	return checkExports(m.ExportedFunctions())
}

func checkExports(exported map[string]api.FunctionDefinition) error {
	if step := exported[StepFunction]; step != nil {
		switch initialize := exported[InitializeFunction]; {
		case !isType(step, nil, []api.ValueType{api.ValueTypeI32}):
			return ErrStep
		case initialize != nil && !isType(initialize, nil, nil):
			return ErrInit
		}
		return nil
	}
	if start := exported[StartFunction]; start == nil || !isType(start, nil, nil) {
		return ErrNoStart
	}
	return nil
}

func isType(f api.FunctionDefinition, params, results []api.ValueType) bool {
	return slices.Equal(f.ParamTypes(), params) && slices.Equal(f.ResultTypes(), results)
}

// Way is how checkpoints of a module are made.
type Way int

// The ways. WayCall is that of a module which imports grid.checkpoint and went through wasm-opt --asyncify.
const (
	WayFiles Way = iota // by what it keeps in /checkpoint
	WayStep             // between calls of grid_step
	WayCall             // at calls of grid.checkpoint
)

// asyncify is what a module exports that went through wasm-opt --asyncify, with the type of each.
var asyncify = map[string][2][]api.ValueType{
	"asyncify_start_unwind": {{api.ValueTypeI32}, nil},
	"asyncify_stop_unwind":  {nil, nil},
	"asyncify_start_rewind": {{api.ValueTypeI32}, nil},
	"asyncify_stop_rewind":  {nil, nil},
}

// WayOf returns the way of a module that Check accepts, and whether it calls grid.checkpoint in vain.
func WayOf(m wazero.CompiledModule) (way Way, inVain bool) {
	exported := m.ExportedFunctions()
	imports := slices.ContainsFunc(m.ImportedFunctions(), func(f api.FunctionDefinition) bool {
		module, name, _ := f.Import()
		return module == GridModule && name == checkpointFunction
	})
	if exported[StepFunction] != nil {
		return WayStep, imports
	}
	if !imports {
		return WayFiles, false
	}
	for name, t := range asyncify {
		if f := exported[name]; f == nil || !isType(f, t[0], t[1]) {
			return WayFiles, true
		}
	}
	return WayCall, false
}
