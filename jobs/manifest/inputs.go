package manifest

import (
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
	"idlegrid/jobs/yamlfile"
	gridv1 "idlegrid/proto/grid/v1"
)

// The bounds of a list of inputs.
const (
	// MaxInputs bounds the files that a unit sees at /in.
	MaxInputs = 16384
	// MaxInputList bounds the encoded list, in bytes.
	MaxInputList = 4 << 20
	// MaxPath bounds an input's path, in bytes.
	MaxPath = 1024
)

// Input is a file that every unit sees at /in.
type Input struct {
	Path string // slash-separated, relative to /in
	Blob jobs.Blob
}

// EncodeInputs returns the canonical bytes of a list of inputs, in any order. It refuses what DecodeInputs
// would refuse.
func EncodeInputs(inputs []Input) ([]byte, error) {
	sorted := slices.Clone(inputs)
	slices.SortFunc(sorted, func(a, b Input) int { return strings.Compare(a.Path, b.Path) })
	if err := checkInputs(sorted); err != nil {
		return nil, err
	}
	var p gridv1.InputList
	for _, in := range sorted {
		p.Inputs = append(p.Inputs, &gridv1.Input{Path: in.Path, Blob: blobToProto(in.Blob)})
	}
	b, err := marshal(&p)
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "encode inputs: %w", err)
	}
	if len(b) > MaxInputList {
		return nil, jobs.Errorf(jobs.Invalid, "list of inputs takes %d bytes, at most %d are allowed",
			len(b), MaxInputList)
	}
	return b, nil
}

// DecodeInputs reads a list of inputs. Its paths are clean and relative, sorted, each once, and none is
// the folder of another.
func DecodeInputs(b []byte) ([]Input, error) {
	if len(b) > MaxInputList {
		return nil, jobs.Errorf(jobs.Invalid, "list of inputs takes %d bytes, at most %d are allowed",
			len(b), MaxInputList)
	}
	var p gridv1.InputList
	if err := proto.Unmarshal(b, &p); err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "decode inputs: %w", err)
	}
	if len(p.GetInputs()) > MaxInputs {
		return nil, tooManyInputs(len(p.GetInputs()))
	}
	var inputs []Input
	for _, in := range p.GetInputs() {
		next := Input{Path: in.GetPath()}
		if err := blobFromProto(&next.Blob, in.GetBlob()); err != nil {
			return nil, jobs.Errorf(jobs.Invalid, "input %q: %w", yamlfile.Clip(in.GetPath()), err)
		}
		inputs = append(inputs, next)
	}
	if err := checkInputs(inputs); err != nil {
		return nil, err
	}
	return inputs, nil
}

func checkInputs(sorted []Input) error {
	if len(sorted) > MaxInputs {
		return tooManyInputs(len(sorted))
	}
	files := make(map[string]bool, len(sorted))
	for i, in := range sorted {
		switch {
		case !validPath(in.Path):
			return jobs.Errorf(jobs.Invalid, "input %q: expected a clean relative path", yamlfile.Clip(in.Path))
		case i > 0 && sorted[i-1].Path >= in.Path:
			return jobs.Errorf(jobs.Invalid, "input %q: expected ascending order, each path once", yamlfile.Clip(in.Path))
		case !validBlob(in.Blob, MaxBlob):
			return jobs.Errorf(jobs.Invalid, "input %q: blob missing or too large", yamlfile.Clip(in.Path))
		}
		files[in.Path] = true
		for at, c := range in.Path {
			// A folder sorts before what is in it, so it is in files by now.
			if c == '/' && files[in.Path[:at]] {
				return jobs.Errorf(jobs.Invalid, "input %q: %q is a file and a folder",
					yamlfile.Clip(in.Path), yamlfile.Clip(in.Path[:at]))
			}
		}
	}
	return nil
}

func tooManyInputs(n int) error {
	return jobs.Errorf(jobs.Invalid, "%d inputs, at most %d are allowed", n, MaxInputs)
}

// validPath accepts what is one and the same file for every system: no "..", no backslash, nothing
// invisible.
func validPath(p string) bool {
	return len(p) <= MaxPath && p != "." && fs.ValidPath(p) && utf8.ValidString(p) &&
		!strings.ContainsRune(p, '\\') && strings.IndexFunc(p, unicode.IsControl) < 0
}
