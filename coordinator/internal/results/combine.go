package results

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// maxCombineFiles bounds what a combine program sees: all of it is listed to its executor at once.
const maxCombineFiles = 1 << 18

// Pool runs units; executor.Pool does.
type Pool interface {
	// Prepare returns an error when no unit of the program can run.
	Prepare(context.Context, *executor.Program) error
	// Run returns an error only when the unit could not be run; what it did wrong is in the result.
	Run(context.Context, *executor.Program, *executor.Unit) (executor.Result, error)
}

// Combine is how a job's results become one.
type Combine struct {
	Program  executor.Program // Combine sets its inputs
	Unit     executor.Unit
	Platform string
}

// Combine runs a combine program on what the folder holds and Save wrote: at /in it sees units.json and the
// units' folders, and nothing else. What it gives goes into combined/, in place of what is there, even when
// it failed: see Result.Failure. An error means that it could not be run or its results not be written.
func (f *Folder) Combine(ctx context.Context, pool Pool, c Combine) (*Result, error) {
	program := c.Program
	var err error
	if program.Inputs, err = f.inputs(); err != nil {
		return nil, err
	}
	if err := pool.Prepare(ctx, &program); err != nil {
		return nil, fmt.Errorf("combine: %w", err)
	}
	ran, err := pool.Run(ctx, &program, &c.Unit)
	if err != nil {
		return nil, fmt.Errorf("combine: %w", err)
	}
	r := &Result{
		Status: ledger.Accepted, Outcome: ran.Outcome, Failure: ran.Failure, Times: ran.Times,
		Runtime: executor.Runtime(), Platform: c.Platform,
	}
	if r.Failure.Failed() {
		r.Status = ledger.Failed
	}
	if _, err := f.write(combinedFolder, r, nil); err != nil {
		return nil, fmt.Errorf("write what was combined: %w", err)
	}
	f.mu.Lock()
	f.combined = true
	f.mu.Unlock()
	return r, nil
}

// Combined returns the folder of what was combined.
func (f *Folder) Combined() string { return filepath.Join(f.dir, combinedFolder) }

// CombinedFile returns where a file of its outcome is.
func (f *Folder) CombinedFile(name string) string {
	return filepath.Join(f.Combined(), outFolder, filepath.FromSlash(name))
}

// inputs returns what a combine program sees.
func (f *Folder) inputs() ([]executor.File, error) {
	found, err := list(f.root, unitsFolder)
	if err != nil {
		return nil, fmt.Errorf("list the results: %w", err)
	}
	index, err := list(f.root, indexFile)
	if err != nil {
		return nil, fmt.Errorf("list the results: %w", err)
	}
	found = append(found, index...)
	if len(found) > maxCombineFiles {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Exhausted, "the results are %d files, a combine program sees at most %d",
			len(found), maxCombineFiles), "let each unit do more of the work, or write fewer files")
	}
	files := make([]executor.File, len(found))
	for i, file := range found {
		files[i] = executor.File{
			Path: file.path, Source: filepath.Join(f.dir, filepath.FromSlash(file.path)), Size: file.size,
		}
	}
	return files, nil
}

// ignoreMissing drops the error that says that something is not there.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
