package blobs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/jobs"
)

func TestMemory(t *testing.T) {
	blobstest.Run(t, blobstest.Harness{
		New:  func(_ *testing.T, quota int64) blobs.Store { return blobs.NewMemory(quota) },
		Flip: func(_ *testing.T, s blobs.Store, d jobs.Digest) { s.(*blobs.Memory).Flip(d) },
	})
}

func TestDir(t *testing.T) {
	blobstest.Run(t, blobstest.Harness{
		New:    func(t *testing.T, quota int64) blobs.Store { return openDir(t, newFolder(t), quota) },
		Reopen: reopen,
		Flip: func(t *testing.T, s blobs.Store, d jobs.Digest) {
			name := pathOf(t, s.(*blobs.Dir), d)
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)-1] ^= 1
			writeFile(t, name, string(data))
		},
	})
}

// newFolder returns a path below the test's folder that is not there yet, a new one each time.
func newFolder(t testing.TB) string {
	return filepath.Join(t.TempDir(), "state", "blobs")
}

func openDir(t testing.TB, path string, quota int64) *blobs.Dir {
	t.Helper()
	s, err := blobs.OpenDir(path, quota)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func folderOf(t *testing.T, s *blobs.Dir) string {
	return filepath.Dir(pathOf(t, s, blobstest.Put(t, s, blobstest.Job(1), nil).Digest))
}

func pathOf(t *testing.T, s *blobs.Dir, d jobs.Digest) string {
	t.Helper()
	name, err := s.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// reopen leaves what the middle of several Puts and deletions leaves, and opens the folder again.
func reopen(t *testing.T, s blobs.Store) blobs.Store {
	t.Helper()
	list := s.List()
	var folder string
	if len(list) > 0 {
		folder = filepath.Dir(pathOf(t, s.(*blobs.Dir), list[0].Blob.Digest))
	} else {
		folder = folderOf(t, s.(*blobs.Dir))
		if err := s.Delete(jobs.DigestOf(nil)); err != nil {
			t.Fatal(err)
		}
	}
	lost, job := jobs.DigestOf([]byte("lost")), blobstest.Job(1)
	writeFile(t, filepath.Join(folder, "7.tmp"), "half a bl")
	writeFile(t, filepath.Join(folder, ".tmp-PROBE"), "a probe of the disk, killed")
	writeFile(t, filepath.Join(folder, jobs.DigestOf([]byte("orphan")).String()), "orphan")
	writeFile(t, filepath.Join(folder, "refs", job.String()+"."+lost.String()), "")
	return openDir(t, folder, 0)
}

func writeFile(t *testing.T, name, data string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDirCleansUp(t *testing.T) {
	s := openDir(t, newFolder(t), 0)
	folder := folderOf(t, s)
	b := blobstest.Put(t, s, blobstest.Job(1), []byte("stays"))
	for _, wrong := range []string{"", "short", "other", "too long"} {
		err := s.Put(blobs.For(blobstest.Job(1)), blobstest.BlobOf([]byte("right")), strings.NewReader(wrong))
		if err == nil {
			t.Fatalf("Put took %q", wrong)
		}
	}
	expectFiles(t, folder, b.String(), jobs.DigestOf(nil).String())
	writeFile(t, filepath.Join(folder, "README"), "not ours")
	s = reopen(t, s).(*blobs.Dir)
	want := []string{b.String(), jobs.DigestOf(nil).String(), "README"}
	expectFiles(t, folder, want...)
	expectFiles(t, filepath.Join(folder, "refs"),
		blobstest.Job(1).String()+"."+want[0], blobstest.Job(1).String()+"."+want[1])
	if err := blobs.Forget(s, blobstest.Job(1)); err != nil {
		t.Fatal(err)
	}
	expectFiles(t, folder, "README")
	expectFiles(t, filepath.Join(folder, "refs"))
}

func expectFiles(t *testing.T, folder string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, e := range entries {
		if e.Type().IsRegular() {
			got[e.Name()] = true
		}
	}
	for _, name := range want {
		if !got[name] {
			t.Errorf("%s is gone", name)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s holds %v, expected %v", folder, got, want)
	}
}

// An operator deletes a file by hand: the next Verify notices, and the blob can come again.
func TestDirLostFile(t *testing.T) {
	s := openDir(t, newFolder(t), 0)
	b := blobstest.Put(t, s, blobstest.Job(1), []byte("lost"))
	if err := os.Remove(pathOf(t, s, b.Digest)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Open(b.Digest); jobs.KindOf(err) != jobs.NotFound {
		t.Errorf("Open returned %v", err)
	}
	if err := s.Verify(b.Digest); jobs.KindOf(err) != jobs.Corrupt {
		t.Errorf("Verify returned %v", err)
	}
	if s.Has(b.Digest) {
		t.Error("the store still claims the blob")
	}
	blobstest.Put(t, s, blobstest.Job(1), []byte("lost"))
}

func TestDirQuotaCountsWhatIsThere(t *testing.T) {
	s := openDir(t, newFolder(t), 0)
	folder := folderOf(t, s)
	b := blobstest.Put(t, s, blobstest.Job(1), []byte("12345"))
	if err := s.Keep(blobs.For(blobstest.Job(2)), b); err != nil {
		t.Fatal(err)
	}
	s = openDir(t, folder, 8)
	blobstest.Put(t, s, blobstest.Job(1), []byte("678"))
	more := []byte("9")
	if err := s.Put(blobs.For(blobstest.Job(1)), blobstest.BlobOf(more), nil); jobs.KindOf(err) != jobs.Exhausted {
		t.Errorf("Put into a full store returned %v", err)
	}
}

func TestDirPath(t *testing.T) {
	s := openDir(t, newFolder(t), 0)
	if name, err := s.Path(jobs.DigestOf(nil)); jobs.KindOf(err) != jobs.NotFound {
		t.Errorf("Path of nothing returned %q, %v", name, err)
	}
	b := blobstest.Put(t, s, blobstest.Job(1), []byte("by path"))
	name := pathOf(t, s, b.Digest)
	if data, err := os.ReadFile(name); err != nil || string(data) != "by path" || !filepath.IsAbs(name) {
		t.Errorf("%s holds %q, %v", name, data, err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm()&fs.FileMode(0o077) != 0 && filepath.Separator == '/' {
		t.Errorf("others may read the blob: %v, %v", info.Mode(), err)
	}
}

func TestOpenDirRefusesAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	writeFile(t, name, "")
	if s, err := blobs.OpenDir(name, 0); err == nil {
		t.Errorf("opened %v in a file", s)
	}
}
