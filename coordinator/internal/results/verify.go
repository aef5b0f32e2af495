package results

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// Verified returns the digest of a successful unit whose folder is there and holds exactly what the digest
// says. It is false for anything else, unreadable or not: such a unit is to be fetched or run again.
func (f *Folder) Verified(unit uint64) (jobs.Digest, bool) {
	name := f.unitFolder(unit)
	text, err := f.readFile(path.Join(name, metaFile), maxMeta)
	if err != nil {
		return jobs.Digest{}, false
	}
	var meta Meta
	if json.Unmarshal(text, &meta) != nil || meta.Failure != nil || meta.Unit == nil || *meta.Unit != unit {
		return jobs.Digest{}, false
	}
	outcome, err := f.readOutcome(name)
	if err != nil || outcome.Check() != nil {
		return jobs.Digest{}, false
	}
	outcome.ExitCode = meta.ExitCode
	digest := outcome.Digest()
	return digest, digest.String() == meta.Digest
}

// ReadCombined returns what is in combined/, if it is whole and did not fail.
func (f *Folder) ReadCombined() (*Result, bool) {
	text, err := f.readFile(path.Join(combinedFolder, metaFile), maxMeta)
	if err != nil {
		return nil, false
	}
	var meta Meta
	if json.Unmarshal(text, &meta) != nil || meta.Failure != nil {
		return nil, false
	}
	outcome, err := f.readOutcome(combinedFolder)
	if err != nil || outcome.Check() != nil {
		return nil, false
	}
	outcome.ExitCode = meta.ExitCode
	return &Result{Status: ledger.Accepted, Outcome: outcome}, outcome.Digest().String() == meta.Digest
}

// readOutcome reads back all of an outcome but its exit code.
func (f *Folder) readOutcome(name string) (o record.Outcome, err error) {
	left := int64(record.MaxOutcome)
	read := func(name string) []byte {
		if err != nil {
			return nil
		}
		var data []byte
		data, err = f.readFile(name, left)
		left -= int64(len(data))
		return data
	}
	o.Stdout = read(path.Join(name, stdoutFile))
	o.Stderr = read(path.Join(name, stderrFile))
	files, walkErr := f.list(path.Join(name, outFolder))
	if walkErr != nil {
		return o, walkErr
	}
	for _, file := range files {
		rel := strings.TrimPrefix(file.path, path.Join(name, outFolder)+"/")
		o.Files = append(o.Files, record.File{Path: rel, Data: read(file.path)})
	}
	return o, err
}

// readFile reads a regular file of at most limit bytes.
func (f *Folder) readFile(name string, limit int64) ([]byte, error) {
	info, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, jobs.Errorf(jobs.Corrupt, "%s is no file of at most %d bytes", name, limit)
	}
	r, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit))
	return data, errors.Join(err, r.Close())
}

// foundFile is a regular file, by its path relative to DIR.
type foundFile struct {
	path string
	size int64
}

// list returns the files under a folder; none where there is no such folder. What is neither file nor folder
// is an error: this package never made it.
func (f *Folder) list(folder string) (files []foundFile, err error) {
	if _, err := f.root.Lstat(folder); err != nil {
		return nil, ignoreMissing(err)
	}
	err = fs.WalkDir(f.root.FS(), folder, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return jobs.Errorf(jobs.Corrupt, "%s is neither a file nor a folder", name)
		}
		files = append(files, foundFile{path: name, size: info.Size()})
		return nil
	})
	return files, err
}
