package record

import (
	"bytes"
	"io/fs"
	"slices"
	"strings"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Outcome is what a unit gave. What the unit cost is no part of it, so that two runs of a deterministic unit
// have one digest.
type Outcome struct {
	ExitCode uint32
	Stdout   []byte
	Stderr   []byte
	Files    []File // what the unit left in /out
}

// File is one file of an outcome.
type File struct {
	Path string // relative to /out; see CheckPath
	Data []byte
}

// CheckPath returns an error unless path may name a file of an outcome: relative, slash-separated, clean,
// without "..", at most MaxPath bytes. It promises nothing about names that only one operating system
// forbids or folds together: whoever writes files stays inside an os.Root and takes the error.
func CheckPath(path string) error {
	if len(path) > MaxPath || path == "." || !fs.ValidPath(path) || strings.ContainsAny(path, "\\\x00") {
		return jobs.Errorf(jobs.Invalid, "path %.80q: expected a clean relative path of at most %d bytes", path, MaxPath)
	}
	return nil
}

// Check returns an error if the outcome is beyond a bound, and thus would be refused by its readers.
func (o *Outcome) Check() error {
	if len(o.Files) > MaxOutcomeFiles {
		return jobs.Errorf(jobs.Invalid, "outcome: %d files, expected at most %d", len(o.Files), MaxOutcomeFiles)
	}
	size := len(o.Stdout) + len(o.Stderr)
	seen := make(map[string]bool, len(o.Files))
	for _, f := range o.Files {
		if err := CheckPath(f.Path); err != nil {
			return jobs.Errorf(jobs.Invalid, "outcome: %w", err)
		}
		if seen[f.Path] {
			return jobs.Errorf(jobs.Invalid, "outcome: two files %q", f.Path)
		}
		seen[f.Path] = true
		size += len(f.Path) + len(f.Data) + maxFileOverhead
	}
	if size+maxFileOverhead > MaxOutcome {
		return jobs.Errorf(jobs.Invalid, "outcome of %d bytes, expected at most %d", size, MaxOutcome)
	}
	return nil
}

// maxFileOverhead is at least what a file adds to an encoded outcome beside its path and data: three tags and
// three lengths.
const maxFileOverhead = 3 + 3*5

// Encode returns the canonical bytes of an outcome that Check finds nothing wrong with: equal outcomes give
// equal bytes, in whatever order their files are.
func (o *Outcome) Encode() []byte {
	files := slices.Clone(o.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	p := &gridv1.Outcome{ExitCode: o.ExitCode, Stdout: o.Stdout, Stderr: o.Stderr, Files: make([]*gridv1.OutFile, len(files))}
	for i, f := range files {
		p.Files[i] = &gridv1.OutFile{Path: f.Path, Data: f.Data}
	}
	return marshal(p)
}

// Digest returns the digest of the canonical bytes.
func (o *Outcome) Digest() jobs.Digest { return jobs.DigestOf(o.Encode()) }

// DecodeOutcome reads what Encode wrote, and nothing else: bytes that are not canonical would give one
// outcome two digests.
func DecodeOutcome(b []byte) (Outcome, error) {
	var p gridv1.Outcome
	if err := unmarshal("outcome", b, &p, MaxOutcome); err != nil {
		return Outcome{}, err
	}
	o := Outcome{ExitCode: p.GetExitCode(), Stdout: p.GetStdout(), Stderr: p.GetStderr()}
	for _, f := range p.GetFiles() {
		o.Files = append(o.Files, File{Path: f.GetPath(), Data: f.GetData()})
	}
	if err := o.Check(); err != nil {
		return Outcome{}, err
	}
	if !bytes.Equal(o.Encode(), b) {
		return Outcome{}, jobs.Errorf(jobs.Invalid, "outcome: its bytes are not in canonical form")
	}
	return o, nil
}
