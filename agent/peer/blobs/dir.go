package blobs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/jobs"
)

const (
	// refs is the folder with an empty file for each claim: "<job>.<digest>", and what else refName says.
	refs = "refs"
	// tempSuffix marks what a crash left half written.
	tempSuffix = ".tmp"
	// syncEvery is how many bytes of a blob may wait for the disk.
	syncEvery = 32 << 20
)

// Dir is a Store in one folder: a file for each blob, named by its digest, and refs beside them. At most one
// Dir may be open on a folder; whoever owns the state folder sees to that.
//
// A blob counts from the moment its bytes, its name and its first ref are all synced. Whatever a crash
// leaves between is removed by the next OpenDir: temporary files, blobs without a ref, refs without a blob.
type Dir struct {
	Disk   *durable.Disk // written through; set before the first Put, or nil
	Shares Shares        // of others' checkpoints; set before the first Put
	// Throttle bounds how fast blobs are written; set before the first Put, or nil.
	Throttle *Throttle
	// MakeRoom lets others go for a blob of so many bytes that does not fit; set before the first Put, or nil.
	MakeRoom func(size int64)

	*index
	root  *os.Root
	temps atomic.Uint64 // numbers the temporary files

	names sync.Mutex // guards the names in the folder; the index has a lock of its own
	sync  *rounds    // of the names
}

var _ Store = (*Dir)(nil)

// OpenDir opens the store in the folder at path, which is made if it is not there. The quota, in bytes, is
// for the blobs together; zero means none.
func OpenDir(path string, quota int64) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(path, refs), 0o700); err != nil {
		return nil, jobs.WithHint(fmt.Errorf("open blob store: %w", err), "the state folder must be one that this user may write to")
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open blob store: %w", err)
	}
	s := &Dir{index: newIndex(quota), root: root}
	s.sync = newRounds(func() error { return errors.Join(durable.SyncFolder(root, refs), durable.SyncFolder(root, ".")) })
	if err := s.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open blob store %s: %w", path, err), root.Close())
	}
	return s, nil
}

// Close closes the folder. Nothing needs to be written: what Put acknowledged is on disk.
func (s *Dir) Close() error { return s.root.Close() }

// Path returns the path of the blob's file, for an executor to read. Call Verify before.
func (s *Dir) Path(d jobs.Digest) (string, error) {
	if _, err := s.use(d); err != nil {
		return "", err
	}
	return filepath.Join(s.root.Name(), d.String()), nil
}

// Put implements Store.
func (s *Dir) Put(c Claim, b jobs.Blob, r io.Reader) error {
	f, err := s.find(c, b)
	if err != nil || f.claimed {
		return err
	}
	if f.job {
		return s.Keep(c, b)
	}
	arrived, err := s.admit(s.Shares, c, b.Size)
	if err != nil {
		return err
	}
	defer arrived()
	err = s.reserve(b.Size)
	if jobs.KindOf(err) == jobs.Exhausted && s.MakeRoom != nil && b.Size <= s.quota.Load() {
		s.MakeRoom(b.Size)
		err = s.reserve(b.Size)
	}
	if err != nil {
		return err
	}
	fresh, err := s.receive(c, b, r)
	if !fresh {
		s.release(b.Size)
	}
	if isDiskFull(err) {
		return jobs.WithHint(jobs.Errorf(jobs.Exhausted, "store blob %s: %w", short(b.Digest), err),
			"Free space on the disk with %s.", s.root.Name())
	}
	return err
}

// receive writes the bytes under a temporary name, verifies and names them. It reports whether the blob is
// new to the store.
func (s *Dir) receive(c Claim, b jobs.Blob, r io.Reader) (fresh bool, err error) {
	temp := fmt.Sprintf("%d%s", s.temps.Add(1), tempSuffix)
	if err := s.write(temp, b, r); err != nil {
		return false, errors.Join(err, s.removeFile(temp))
	}
	failpoint.Hit("blob.synced")
	if err := s.name(c, b, temp); err != nil {
		return false, errors.Join(err, s.removeFile(temp))
	}
	failpoint.Hit("blob.named")
	return s.settle(c, b)
}

// steadyFile syncs as it goes: the sync at the end of a large blob would else keep the sender, who waits for
// a receipt, and the PC's owner waiting.
type steadyFile struct {
	*os.File
	disk     *durable.Disk
	unsynced int
}

func (f *steadyFile) Write(p []byte) (int, error) {
	n := 0
	err := f.disk.Do(func() (err error) {
		n, err = f.File.Write(p)
		f.unsynced += n
		if err == nil && f.unsynced >= syncEvery {
			f.unsynced = 0
			err = f.Sync()
		}
		return err
	})
	return n, err
}

// name gives a written blob its ref and its name. Two Puts of one blob may both come here, the later with the
// same bytes.
func (s *Dir) name(c Claim, b jobs.Blob, temp string) error {
	s.names.Lock()
	defer s.names.Unlock()
	if err := s.mark(c, b.Digest); err != nil {
		return err
	}
	failpoint.Hit("blob.marked")
	if s.Has(b.Digest) {
		return s.removeFile(temp) // the file there may be open, and some systems cannot replace it then
	}
	if err := s.Disk.Do(func() error { return s.root.Rename(temp, b.Digest.String()) }); err != nil {
		return fmt.Errorf("name blob %s: %w", short(b.Digest), err)
	}
	return nil
}

// write leaves a synced file with exactly b's bytes, or an error and perhaps a file.
func (s *Dir) write(temp string, b jobs.Blob, r io.Reader) error {
	var f *os.File
	err := s.Disk.Do(func() (err error) {
		f, err = s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err != nil {
		return fmt.Errorf("store blob %s: %w", short(b.Digest), err)
	}
	err = copyVerified(&steadyFile{File: f, disk: s.Disk}, b, paced{r, s.Throttle})
	if err == nil {
		failpoint.Hit("blob.written")
		err = s.Disk.Do(f.Sync)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("store blob %s: %w", short(b.Digest), err)
	}
	return nil
}

// settle waits until the names are durable, and only then lets the index know the blob. It reports whether
// the blob is new to the store.
func (s *Dir) settle(c Claim, b jobs.Blob) (fresh bool, err error) {
	if err := s.Disk.Do(s.sync.join); err != nil {
		return false, err
	}
	s.names.Lock()
	defer s.names.Unlock()
	if _, err := s.root.Lstat(b.Digest.String()); err != nil {
		err := jobs.Errorf(jobs.Unavailable, "blob %s was deleted while it was stored: %w", short(b.Digest), err)
		return false, errors.Join(err, s.removeFile(refName(c, b.Digest)))
	}
	return s.add(c, b, time.Now()), nil
}

// Keep implements Store.
func (s *Dir) Keep(c Claim, b jobs.Blob) error {
	f, err := s.find(c, b)
	if err != nil || f.claimed {
		return err
	}
	if !f.here {
		return notHere(b.Digest)
	}
	arrived, err := s.admit(s.Shares, c, b.Size)
	if err != nil {
		return err
	}
	defer arrived()
	if err := s.mark(c, b.Digest); err != nil {
		return err
	}
	_, err = s.settle(c, b)
	return err
}

// mark writes a ref.
func (s *Dir) mark(c Claim, d jobs.Digest) error {
	err := s.Disk.Do(func() error {
		f, err := s.root.OpenFile(refName(c, d), os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			err = f.Close()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("keep blob %s for job %s: %w", short(d), c.Job.Short(), err)
	}
	return nil
}

// Open implements Store. The caller may read on while the blob is deleted.
func (s *Dir) Open(d jobs.Digest) (io.ReadCloser, int64, error) {
	size, err := s.use(d)
	if err != nil {
		return nil, 0, err
	}
	f, err := s.root.Open(d.String())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, notHere(d)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob %s: %w", short(d), err)
	}
	return f, size, nil
}

// Verify implements Store. A file that somebody removed counts as changed, so that the blob is fetched again.
func (s *Dir) Verify(d jobs.Digest) error {
	size, err := s.size(d)
	if err != nil {
		return err
	}
	err = s.reread(jobs.Blob{Digest: d, Size: size})
	if err == nil {
		s.saw(d, time.Now())
		return nil
	}
	if jobs.KindOf(err) != jobs.Corrupt {
		return err
	}
	return errors.Join(err, s.Delete(d))
}

// Scrub is Verify by whoever goes through all blobs: when a blob was right is written down, as the time of its
// file, for a PC that is seldom on for long.
func (s *Dir) Scrub(d jobs.Digest) error {
	if err := s.Verify(d); err != nil {
		return err
	}
	now := time.Now()
	err := s.Disk.Do(func() error { return s.root.Chtimes(d.String(), now, now) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	return err
}

func (s *Dir) reread(b jobs.Blob) error {
	f, err := s.root.Open(b.Digest.String())
	if errors.Is(err, fs.ErrNotExist) {
		return jobs.Errorf(jobs.Corrupt, "the file of blob %s is gone", short(b.Digest))
	}
	if err != nil {
		return fmt.Errorf("verify blob %s: %w", short(b.Digest), err)
	}
	return errors.Join(copyVerified(io.Discard, b, f), f.Close())
}

// Delete implements Store. It syncs nothing: a blob that a crash brings back does no harm.
func (s *Dir) Delete(d jobs.Digest) error {
	s.names.Lock()
	defer s.names.Unlock()
	return s.remove(d)
}

// remove deletes the file, then its refs: refs without a blob are harmless, and a file that cannot be removed
// keeps its refs and is tried again. The caller holds s.names.
func (s *Dir) remove(d jobs.Digest) error {
	if err := s.removeFile(d.String()); err != nil {
		return err
	}
	claims := s.claimsOf(d)
	s.index.remove(d)
	var err error
	for _, c := range claims {
		err = errors.Join(err, s.removeFile(refName(c, d)))
	}
	return err
}

// probeBytes is about what a pack takes, so that a disk is not called good that has no room for one.
const probeBytes = 1 << 20

// Probe writes a file that means nothing, and removes it after it was on disk.
func (s *Dir) Probe() error {
	name := fmt.Sprintf("probe%s", tempSuffix)
	data := make([]byte, probeBytes)
	_, _ = rand.Read(data) // it never fails; bytes that cannot be compressed take their room
	return errors.Join(durable.WriteFile(s.root, name, data, 0o600), s.removeFile(name))
}

// Drop implements Store.
func (s *Dir) Drop(match func(jobs.Digest, Claim) bool) error {
	s.names.Lock()
	defer s.names.Unlock()
	var err error
	for d, claims := range s.matching(match) {
		for _, c := range claims {
			err = errors.Join(err, s.dropClaim(c, d))
		}
	}
	return err
}

// dropClaim removes a claim, and the blob with its last one. The caller holds s.names.
func (s *Dir) dropClaim(c Claim, d jobs.Digest) error {
	if s.isLast(c, d) {
		return s.remove(d)
	}
	if err := s.removeFile(refName(c, d)); err != nil {
		return err
	}
	s.drop(c, d)
	return nil
}

// removeFile removes a file that may be gone already.
func (s *Dir) removeFile(name string) error {
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// load reads the folder into the index and removes what a crash left.
func (s *Dir) load() error {
	files, err := s.loadBlobs()
	if err != nil {
		return err
	}
	failpoint.Hit("blobs.loading")
	entries, err := fs.ReadDir(s.root.FS(), refs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		c, d, ok := parseRef(e.Name())
		file, here := files[d]
		if ok && !here {
			err = errors.Join(err, s.removeFile(refName(c, d)))
		}
		if ok && here && s.add(c, jobs.Blob{Digest: d, Size: file.bytes}, since(c, e)) {
			s.used += file.bytes
			s.saw(d, file.at)
		}
	}
	for d := range files {
		if !s.Has(d) {
			err = errors.Join(err, s.removeFile(d.String()))
		}
	}
	return err
}

// blobFile is what a file says of its blob.
type blobFile struct {
	bytes int64
	at    time.Time // when it was right last
}

// loadBlobs returns the blobs' files and removes temporary ones. Files with other names are not
// ours and stay.
func (s *Dir) loadBlobs() (map[jobs.Digest]blobFile, error) {
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	files := make(map[jobs.Digest]blobFile)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tempSuffix) || durable.IsLeftOver(e.Name()) {
			err = errors.Join(err, s.removeFile(e.Name()))
			continue
		}
		d, notBlob := jobs.ParseDigest(e.Name())
		if notBlob != nil || !e.Type().IsRegular() {
			continue
		}
		info, ierr := e.Info()
		if ierr != nil {
			err = errors.Join(err, ierr)
			continue
		}
		files[d] = blobFile{info.Size(), earlier(info.ModTime(), time.Now())}
	}
	return files, err
}

// since is when a ref was written. It matters for checkpoints only, and is now where it is not known.
func since(c Claim, e fs.DirEntry) time.Time {
	now := time.Now()
	if c.Kind != Checkpoint {
		return now
	}
	info, err := e.Info()
	if err != nil {
		return now
	}
	return earlier(info.ModTime(), now)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
