package results

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// Result is what is known of a unit that ended, well or not.
type Result struct {
	Status   ledger.Status
	Outcome  record.Outcome // of a failed unit: what there is of it
	Failure  jobs.Failure
	Times    jobs.Times
	Attempt  uint32
	Agent    jobs.AgentID // zero: it was run here
	Runtime  string
	Platform string
}

// Meta is the content of a meta.json.
type Meta struct {
	Unit        *uint64      `json:"unit,omitempty"` // not in that of combined/
	Status      string       `json:"status"`
	ExitCode    uint32       `json:"exit_code"`
	Failure     *MetaFailure `json:"failure,omitempty"`
	CPUSeconds  float64      `json:"cpu_seconds"`
	WallSeconds float64      `json:"wall_seconds"`
	Attempt     uint32       `json:"attempt"`
	Agent       string       `json:"agent"` // empty: it was run here
	Runtime     string       `json:"runtime"`
	Platform    string       `json:"platform"`
	Digest      string       `json:"digest"` // of the outcome: exit code, stdout, stderr, files
}

// MetaFailure is why a unit failed.
type MetaFailure struct {
	Kind string `json:"kind"`
	Text string `json:"text"`
}

// maxMeta bounds a meta.json, in bytes: a failure's text may grow sixfold when it is escaped.
const maxMeta = 16 * jobs.MaxFailureText

func (r *Result) meta(unit *uint64, digest jobs.Digest) Meta {
	m := Meta{
		Unit: unit, Status: r.Status.String(), ExitCode: r.Outcome.ExitCode,
		CPUSeconds: r.Times.CPU.Seconds(), WallSeconds: r.Times.Wall.Seconds(),
		Attempt: r.Attempt, Runtime: r.Runtime, Platform: r.Platform, Digest: digest.String(),
	}
	if r.Failure.Failed() {
		m.Failure = &MetaFailure{Kind: r.Failure.Kind.String(), Text: r.Failure.Text}
	}
	if !r.Agent.IsZero() {
		m.Agent = r.Agent.String()
	}
	return m
}

// Put writes a unit's folder, in place of what is there, and its row. After an error the unit has no new
// folder and its old row.
func (f *Folder) Put(unit uint64, r *Result) error {
	if unit >= f.job.Units {
		return jobs.Errorf(jobs.Internal, "unit %d of a job of %d units", unit, f.job.Units)
	}
	if err := f.dropCombined(); err != nil {
		return err
	}
	digest, err := f.write(f.unitFolder(unit), r, &unit)
	if err != nil {
		return fmt.Errorf("write unit %d: %w", unit, err)
	}
	row := Row{Unit: unit, Status: r.Status, Digest: digest}
	if r.Failure.Failed() {
		row.Reason = r.Failure.String()
	}
	f.Note(row)
	return nil
}

// dropCombined removes what was made of other units than those that are about to be here.
func (f *Folder) dropCombined() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.combined {
		return nil
	}
	if err := f.root.RemoveAll(combinedFolder); err != nil {
		return fmt.Errorf("remove what was combined before: %w", err)
	}
	f.combined = false
	return nil
}

// write makes a folder of the shape that a unit and the combined have.
func (f *Folder) write(name string, r *Result, unit *uint64) (jobs.Digest, error) {
	if err := r.Outcome.Check(); err != nil {
		return jobs.Digest{}, jobs.Errorf(jobs.Corrupt, "%w", err)
	}
	digest := r.Outcome.Digest()
	meta, err := json.MarshalIndent(r.meta(unit, digest), "", "  ")
	if err != nil {
		return jobs.Digest{}, fmt.Errorf("encode %s: %w", metaFile, err)
	}
	temp := path.Join(path.Dir(name), tempPrefix+rand.Text())
	err = f.fill(temp, &r.Outcome, append(meta, '\n'))
	if err == nil && f.root.Rename(temp, name) != nil { // Something is there, as a rule.
		if err = f.root.RemoveAll(name); err == nil {
			err = f.root.Rename(temp, name)
		}
	}
	if err != nil {
		return jobs.Digest{}, errors.Join(err, f.root.RemoveAll(temp))
	}
	return digest, nil
}

func (f *Folder) fill(name string, o *record.Outcome, meta []byte) (err error) {
	if err := f.root.Mkdir(name, folderPerm); err != nil {
		return err
	}
	folder, err := f.root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	for _, file := range []record.File{
		{Path: stdoutFile, Data: o.Stdout},
		{Path: stderrFile, Data: o.Stderr},
		{Path: metaFile, Data: meta},
	} {
		if err := folder.WriteFile(file.Path, file.Data, filePerm); err != nil {
			return err
		}
	}
	for _, file := range o.Files {
		if err := writeOut(folder, file); err != nil {
			return err
		}
	}
	return nil
}

// writeOut writes a file of an outcome into a unit's folder. It never replaces one: two names that this system
// takes for the same are an error.
func writeOut(folder *os.Root, file record.File) error {
	if err := checkName(file.Path, onWindows); err != nil {
		return err
	}
	name := path.Join(outFolder, file.Path)
	if err := folder.MkdirAll(path.Dir(name), folderPerm); err != nil {
		return clash(file.Path, err)
	}
	w, err := folder.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if err != nil {
		return clash(file.Path, err)
	}
	_, err = bytes.NewReader(file.Data).WriteTo(w)
	return errors.Join(err, w.Close())
}

// clash explains why there is something else already.
func clash(name string, err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.ENOTDIR) {
		err = jobs.WithHint(jobs.Errorf(jobs.Unsupported,
			"%.80q is the name of another file or folder of the same unit on this system: %w", name, err),
			"let the program name its files otherwise, or work on another system")
	}
	return err
}
