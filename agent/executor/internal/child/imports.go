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

// StartFunction is what a guest exports to be run.
const StartFunction = "_start"

// MissingImportError is a function that a module wants and nobody provides.
type MissingImportError struct {
	Module, Name string
	Known        bool // the name is known, its parameters are not
}

// Error names the function.
func (e *MissingImportError) Error() string {
	if e.Known {
		return fmt.Sprintf("imports %s.%s with other parameters than WASI preview 1 has", e.Module, e.Name)
	}
	return fmt.Sprintf("imports %s.%s, which nobody provides", e.Module, e.Name)
}

// ErrNoStart is the error of a module that exports no start function without parameters and results.
var ErrNoStart = errors.New("exports no function _start")

// Check returns an error unless every import of the module is one of WASI preview 1, and it can be started.
func Check(ctx context.Context, r wazero.Runtime, m wazero.CompiledModule) error {
	wasi, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		return err
	}
	provided := wasi.ExportedFunctions()
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		known, ok := provided[name]
		if module != wasi_snapshot_preview1.ModuleName || !ok {
			return &MissingImportError{Module: module, Name: name}
		}
		if !sameType(f, known) {
			return &MissingImportError{Module: module, Name: name, Known: true}
		}
	}
	for _, mem := range m.ImportedMemories() {
		module, name, _ := mem.Import()
		return &MissingImportError{Module: module, Name: name}
	}
	start := m.ExportedFunctions()[StartFunction]
	if start == nil || len(start.ParamTypes())+len(start.ResultTypes()) > 0 {
		return ErrNoStart
	}
	return nil
}

func sameType(a, b api.FunctionDefinition) bool {
	return slices.Equal(a.ParamTypes(), b.ParamTypes()) && slices.Equal(a.ResultTypes(), b.ResultTypes())
}
