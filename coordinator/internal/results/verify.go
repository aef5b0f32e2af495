package results

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// Verified returns the digest of a successful unit whose folder is there and holds exactly what the digest
// says. It is false for anything else, unreadable or not: such a unit is to be fetched or run again.
func (f *Folder) Verified(unit uint64) (jobs.Digest, bool) {
	o, meta, ok := f.read(f.unitFolder(unit))
	if !ok || meta.Unit == nil || *meta.Unit != unit {
		return jobs.Digest{}, false
	}
	return o.Digest(), true
}

// ReadCombined returns what is in combined/, if it is whole and did not fail.
func (f *Folder) ReadCombined() (*Result, bool) {
	o, _, ok := f.read(combinedFolder)
	return &Result{Status: ledger.Accepted, Outcome: o}, ok
}

// read reads back what write made. It is false if that is not whole or did not succeed.
func (f *Folder) read(name string) (o record.Outcome, meta Meta, ok bool) {
	folder, err := f.root.OpenRoot(name)
	if err != nil {
		return o, meta, false
	}
	defer folder.Close() // It was only read.
	text, err := readFile(folder, metaFile, maxMeta)
	if err != nil || json.Unmarshal(text, &meta) != nil || meta.Failure != nil {
		return o, meta, false
	}
	if o, err = readOutcome(folder); err != nil || o.Check() != nil {
		return o, meta, false
	}
	o.ExitCode = meta.ExitCode
	return o, meta, o.Digest().String() == meta.Digest
}

// readOutcome reads back all of an outcome but its exit code.
func readOutcome(folder *os.Root) (o record.Outcome, err error) {
	left := int64(record.MaxOutcome)
	read := func(name string) []byte {
		if err != nil {
			return nil
		}
		var data []byte
		data, err = readFile(folder, name, left)
		left -= int64(len(data))
		return data
	}
	o.Stdout = read(stdoutFile)
	o.Stderr = read(stderrFile)
	files, walkErr := list(folder, outFolder)
	if walkErr != nil {
		return o, walkErr
	}
	for _, file := range files {
		rel := strings.TrimPrefix(file.path, outFolder+"/")
		o.Files = append(o.Files, record.File{Path: rel, Data: read(file.path)})
	}
	return o, err
}

// readFile reads a regular file of at most limit bytes.
func readFile(folder *os.Root, name string, limit int64) ([]byte, error) {
	info, err := folder.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, jobs.Errorf(jobs.Corrupt, "%s is no file of at most %d bytes", name, limit)
	}
	r, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit))
	return data, errors.Join(err, r.Close())
}

// foundFile is a regular file, by its path relative to what was listed.
type foundFile struct {
	path string
	size int64
}

// list returns the files at a path of a folder and below; none where there is no such folder. What is neither file nor folder
// is an error: this package never made it.
func list(folder *os.Root, at string) (files []foundFile, err error) {
	if _, err := folder.Lstat(at); err != nil {
		return nil, ignoreMissing(err)
	}
	err = fs.WalkDir(folder.FS(), at, func(name string, e fs.DirEntry, err error) error {
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
