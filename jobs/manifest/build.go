package manifest

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"io"
	"path/filepath"
	"time"

	"idlegrid/jobs"
)

// Build is a job that is ready to be signed and uploaded.
type Build struct {
	Manifest *Manifest
	// Payload is the manifest's canonical bytes: what is signed.
	Payload []byte
	// Inputs is the content of the blob Manifest.Inputs, sorted by path.
	Inputs []Input
	// Files are all blobs of the job, each once, the inputs too.
	Files []File
}

// ID returns the job's ID.
func (b *Build) ID() jobs.JobID { return jobs.JobID(jobs.DigestOf(b.Payload)) }

// File is where the bytes of a blob are: in a file of the submitter or in memory.
type File struct {
	Blob jobs.Blob
	// Path is the local file, "" for what was made here. To read it, use Open, which notices changes.
	Path string

	dir  string // the job's folder, and
	name string // the file in it
	data []byte // of what was made here
}

// Build hashes all files and makes the manifest. The job lives from now, cut to the second, for as long
// as the Spec says. Its error names a file that is gone, or a program that is not the one that was checked.
func (s *Spec) Build(submitter jobs.KeyID, now time.Time) (*Build, error) {
	dir, err := openFolder(s.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.close()
	m := s.Job
	m.Submitter = submitter
	m.Created = time.Unix(now.Unix(), 0).UTC()
	m.Expires = m.Created.Add(s.Keep)
	b := builder{spec: s, dir: dir, build: &Build{Manifest: &m}, seen: make(map[jobs.Digest]bool)}
	if err := b.files(); err != nil {
		return nil, err
	}
	if b.build.Payload, err = m.Encode(); err != nil {
		return nil, err
	}
	return b.build, nil
}

type builder struct {
	spec  *Spec
	dir   *folder
	build *Build
	seen  map[jobs.Digest]bool
}

func (b *builder) files() (err error) {
	m := b.build.Manifest
	if m.Program, err = b.program(b.spec.Program); err != nil {
		return err
	}
	if m.Combine != nil {
		m.Combine = &Combine{Args: m.Combine.Args}
		if m.Combine.Program, err = b.program(b.spec.CombineProgram); err != nil {
			return err
		}
	}
	if b.spec.Stdin != "" {
		if m.Stdin, err = b.file(b.spec.Stdin); err != nil {
			return err
		}
	}
	return b.inputs()
}

func (b *builder) inputs() error {
	if len(b.spec.Inputs) == 0 {
		return nil
	}
	for _, name := range b.spec.Inputs {
		blob, err := b.file(name)
		if err != nil {
			return err
		}
		b.build.Inputs = append(b.build.Inputs, Input{Path: name, Blob: blob})
	}
	list, err := EncodeInputs(b.build.Inputs)
	if err != nil {
		return err
	}
	blob := jobs.Blob{Digest: jobs.DigestOf(list), Size: int64(len(list))}
	b.build.Manifest.Inputs = blob
	b.add(File{Blob: blob, data: list})
	return nil
}

func (b *builder) program(name string) (jobs.Blob, error) {
	blob, err := b.file(name)
	if err == nil && blob.Digest != b.spec.checked[name] {
		err = changed(b.path(name))
	}
	return blob, err
}

// file hashes a file as it is now.
func (b *builder) file(name string) (jobs.Blob, error) {
	r, err := b.dir.open(name)
	if err != nil {
		return jobs.Blob{}, jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s: %w", b.path(name), err), "%s", jobs.HintOf(err))
	}
	defer r.Close()
	h := sha256.New()
	size, err := io.Copy(h, r)
	if err != nil {
		return jobs.Blob{}, jobs.Errorf(jobs.Invalid, "read %s: %w", b.path(name), err)
	}
	blob := jobs.Blob{Digest: jobs.Digest(h.Sum(nil)), Size: size}
	b.add(File{Blob: blob, Path: b.path(name), dir: b.dir.dir, name: name})
	return blob, nil
}

func (b *builder) path(name string) string {
	return filepath.Join(b.dir.dir, filepath.FromSlash(name))
}

func (b *builder) add(f File) {
	if !b.seen[f.Blob.Digest] {
		b.seen[f.Blob.Digest] = true
		b.build.Files = append(b.build.Files, f)
	}
}

// Open returns the blob's bytes. When they are no longer those that were hashed, reading ends in an error
// of kind jobs.Invalid instead of io.EOF; never trust what was read before io.EOF.
func (f File) Open() (io.ReadCloser, error) {
	if f.name == "" {
		return io.NopCloser(bytes.NewReader(f.data)), nil
	}
	dir, err := openFolder(f.dir)
	if err != nil {
		return nil, err
	}
	defer dir.close() // An open file outlives its root.
	r, err := dir.open(f.name)
	if err != nil {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s: %w", f.Path, err), "%s", jobs.HintOf(err))
	}
	return &verifier{ReadCloser: r, file: f, hash: sha256.New()}, nil
}

// verifier passes a file on and compares it at its end with what was hashed before.
type verifier struct {
	io.ReadCloser
	file File
	hash hash.Hash
	size int64
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n]) // A hash's Write never fails.
	v.size += int64(n)
	grown := v.size > v.file.Blob.Size
	ended := err == io.EOF
	if grown || ended && jobs.Digest(v.hash.Sum(nil)) != v.file.Blob.Digest {
		return 0, changed(v.file.Path)
	}
	return n, err
}

func changed(path string) error {
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s changed since it was checked", path), "submit again")
}
