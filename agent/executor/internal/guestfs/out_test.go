package guestfs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"idlegrid/jobs/record"

	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
	"pgregory.net/rapid"
)

const (
	create   = experimentalsys.O_CREAT | experimentalsys.O_RDWR
	readonly = experimentalsys.O_RDONLY
)

func newOut(q Quota) *Out { return NewOut(q, &Session{}, &Chunks{}) }

// files returns what an /out holds.
func files(t interface{ Fatal(...any) }, o *Out) map[string]string {
	got := make(map[string]string)
	if err := o.Walk(func(path string, piece []byte) error { got[path] += string(piece); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

// put writes a file, or returns why not.
func put(o *Out, path, data string) experimentalsys.Errno {
	f, errno := o.OpenFile(path, create|experimentalsys.O_TRUNC, 0)
	if errno != 0 {
		return errno
	}
	defer closeFile(f)
	_, errno = f.Write([]byte(data))
	return errno
}

// closeFile closes a file, which cannot fail in /out.
func closeFile(f experimentalsys.File) { _ = f.Close() }

func TestOutErrors(t *testing.T) {
	open := func(path string, flag experimentalsys.Oflag) func(*Out) experimentalsys.Errno {
		return func(o *Out) experimentalsys.Errno {
			_, errno := o.OpenFile(path, flag, 0)
			return errno
		}
	}
	rename := func(from, to string) func(*Out) experimentalsys.Errno {
		return func(o *Out) experimentalsys.Errno { return o.Rename(from, to) }
	}
	long := strings.Repeat("x", record.MaxPath)
	tests := map[string]struct {
		do   func(*Out) experimentalsys.Errno
		want experimentalsys.Errno
	}{
		"open nothing":             {open("none", readonly), experimentalsys.ENOENT},
		"open below a file":        {open("file/x", create), experimentalsys.ENOTDIR},
		"open below nothing":       {open("none/x", create), experimentalsys.ENOENT},
		"open a file as a folder":  {open("file", experimentalsys.O_DIRECTORY), experimentalsys.ENOTDIR},
		"open a file with a slash": {open("file/", readonly), experimentalsys.ENOTDIR},
		"create with a slash":      {open("new/", create), experimentalsys.EISDIR},
		"create what exists":       {open("file", create|experimentalsys.O_EXCL), experimentalsys.EEXIST},
		"write to a folder":        {open("dir", experimentalsys.O_RDWR), experimentalsys.EISDIR},
		"open a folder":            {open("dir", experimentalsys.O_DIRECTORY), 0},
		"open by a joined path":    {open("/dir/../file", readonly), 0},
		"a long path":              {open(long+"x", create), experimentalsys.ENAMETOOLONG},
		"the longest path":         {open(long, create), 0},
		"a backslash":              {open(`a\b`, create), experimentalsys.EINVAL},
		"no UTF-8":                 {open("a\xff", create), experimentalsys.EINVAL},
		"mkdir of a file":          {func(o *Out) experimentalsys.Errno { return o.Mkdir("file", 0) }, experimentalsys.EEXIST},
		"mkdir of the root":        {func(o *Out) experimentalsys.Errno { return o.Mkdir(".", 0) }, experimentalsys.EEXIST},
		"mkdir with a slash":       {func(o *Out) experimentalsys.Errno { return o.Mkdir("new/", 0) }, 0},
		"rmdir of the root":        {func(o *Out) experimentalsys.Errno { return o.Rmdir(".") }, experimentalsys.EPERM},
		"rmdir of a file":          {func(o *Out) experimentalsys.Errno { return o.Rmdir("file") }, experimentalsys.ENOTDIR},
		"rmdir of a full folder":   {func(o *Out) experimentalsys.Errno { return o.Rmdir("dir") }, experimentalsys.ENOTEMPTY},
		"unlink a folder":          {func(o *Out) experimentalsys.Errno { return o.Unlink("dir") }, experimentalsys.EISDIR},
		"unlink nothing":           {func(o *Out) experimentalsys.Errno { return o.Unlink("none") }, experimentalsys.ENOENT},
		"rename nothing":           {rename("none", "x"), experimentalsys.ENOENT},
		"rename the root":          {rename(".", "x"), experimentalsys.EPERM},
		"rename to itself":         {rename("file", "./file"), 0},
		"rename into itself":       {rename("dir", "dir/sub/x"), experimentalsys.EINVAL},
		"rename a folder to file":  {rename("dir", "file"), experimentalsys.ENOTDIR},
		"rename a file to folder":  {rename("file", "dir"), experimentalsys.EISDIR},
		"rename over a full one":   {rename("empty", "dir"), experimentalsys.ENOTEMPTY},
		"rename over an empty one": {rename("dir", "empty"), 0},
		"rename over a file":       {rename("file", "dir/sub/file"), 0},
		"rename to a long path":    {rename("dir", long), experimentalsys.ENAMETOOLONG},
		"symbolic link":            {func(o *Out) experimentalsys.Errno { return o.Symlink("file", "link") }, experimentalsys.ENOSYS},
		"hard link":                {func(o *Out) experimentalsys.Errno { return o.Link("file", "link") }, experimentalsys.ENOSYS},
		"stat nothing": {func(o *Out) experimentalsys.Errno {
			_, errno := o.Stat("none")
			return errno
		}, experimentalsys.ENOENT},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOut(Quota{Bytes: 1000, Files: 10})
			for _, dir := range []string{"dir", "dir/sub", "empty"} {
				if errno := o.Mkdir(dir, 0); errno != 0 {
					t.Fatal(errno)
				}
			}
			for _, path := range []string{"file", "dir/sub/file"} {
				if errno := put(o, path, path); errno != 0 {
					t.Fatal(errno)
				}
			}
			if errno := tt.do(o); errno != tt.want {
				t.Errorf("errno %v, expected %v", errno, tt.want)
			}
		})
	}
}

// TestQuota checks both sides of both quotas, and that what is deleted counts no more, once it is closed.
func TestQuota(t *testing.T) {
	o := newOut(Quota{Bytes: 100, Files: 2})
	if errno := put(o, "a", strings.Repeat("x", 100)); errno != 0 {
		t.Fatal(errno)
	}
	f, errno := o.OpenFile("a", experimentalsys.O_RDWR|experimentalsys.O_APPEND, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	if n, errno := f.Write([]byte("y")); n != 0 || errno != errFull {
		t.Errorf("a byte too many: %d, %v", n, errno)
	}
	if errno := o.Mkdir("b", 0); errno != 0 {
		t.Fatal(errno)
	}
	if errno := put(o, "c", ""); errno != errFull {
		t.Errorf("a file too many: %v", errno)
	}
	if want := "/out is full: 100 bytes"; o.session.Refusal != want {
		t.Errorf("the first refusal is %q, expected %q", o.session.Refusal, want)
	}
	if errno := o.Unlink("a"); errno != 0 {
		t.Fatal(errno)
	}
	if errno := put(o, "c", "z"); errno != errFull {
		t.Errorf("a deleted file is still open and counts, but: %v", errno)
	}
	if n, errno := f.Pread(make([]byte, 200), 0); n != 100 || errno != 0 {
		t.Errorf("read %d bytes of the deleted file: %v", n, errno)
	}
	closeFile(f)
	if errno := put(o, "c", strings.Repeat("z", 100)); errno != 0 {
		t.Errorf("after all is deleted: %v", errno)
	}
	for _, size := range []int64{-1, 101, 1 << 62} {
		g, errno := o.OpenFile("c", experimentalsys.O_RDWR, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		if errno := g.Truncate(size); errno == 0 {
			t.Errorf("truncate to %d worked", size)
		}
		if _, errno := g.Pwrite([]byte("x"), 1<<63-1); errno == 0 {
			t.Error("a write at the end of the world worked")
		}
		closeFile(g)
	}
}

// TestOut does random things and checks the accounts, the order, and that the files are those of a map.
func TestOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := newOut(Quota{Bytes: 200, Files: 8})
		model := make(map[string]string)
		path := rapid.SampledFrom([]string{"a", "b", "d/a", "d/b", "d/e/a", "d", "d/e"})
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				p, data := path.Draw(t, "path"), strings.Repeat("x", rapid.IntRange(0, 80).Draw(t, "size"))
				switch errno := put(o, p, data); {
				case errno == 0:
					model[p] = data
				case errno == errFull && exists(o, p):
					model[p] = "" // it was cut first
				}
			},
			"mkdir": func(t *rapid.T) { _ = o.Mkdir(path.Draw(t, "path"), 0) },
			"rmdir": func(t *rapid.T) { _ = o.Rmdir(path.Draw(t, "path")) },
			"unlink": func(t *rapid.T) {
				if p := path.Draw(t, "path"); o.Unlink(p) == 0 {
					delete(model, p)
				}
			},
			"rename": func(t *rapid.T) {
				from, to := path.Draw(t, "from"), path.Draw(t, "to")
				if o.Rename(from, to) != 0 {
					return
				}
				for p, data := range maps.Clone(model) {
					if rest, ok := strings.CutPrefix(p+"/", from+"/"); ok {
						delete(model, p)
						model[strings.TrimSuffix(to+"/"+rest, "/")] = data
					}
				}
			},
			"": func(t *rapid.T) {
				got := files(t, o)
				if !maps.Equal(got, model) {
					t.Fatalf("holds %q, expected %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(model)))
				}
				var bytes int64
				for _, data := range model {
					bytes += int64(len(data))
				}
				if o.bytes != bytes || o.bytes > o.quota.Bytes || o.files > o.quota.Files || o.session.open != 0 {
					t.Fatalf("counts %d bytes and %d files, %d open; there are %d bytes", o.bytes, o.files, o.session.open, bytes)
				}
			},
		})
	})
}

func exists(o *Out, path string) bool {
	_, errno := o.Stat(path)
	return errno == 0
}

// TestChunksComeBack checks that a file that is rewritten over and over takes no new memory.
func TestChunksComeBack(t *testing.T) {
	chunks := &Chunks{}
	o := NewOut(Quota{Bytes: 1 << 20, Files: 10}, &Session{}, chunks)
	for i := range 20 {
		if errno := put(o, "a", strings.Repeat("x", 5*chunkSize)); errno != 0 {
			t.Fatal(errno)
		}
		if i%2 == 0 {
			if errno := o.Unlink("a"); errno != 0 {
				t.Fatal(errno)
			}
		}
	}
	o.Free()
	if n := len(chunks.free); n != 5 {
		t.Errorf("%d chunks were made for five", n)
	}
}

func TestListing(t *testing.T) {
	o := newOut(Quota{Bytes: 10, Files: 100})
	for i := range 10 {
		if errno := put(o, fmt.Sprint("f", 9-i), ""); errno != 0 {
			t.Fatal(errno)
		}
	}
	dir, errno := o.OpenFile(".", readonly, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	var names []string
	for {
		page, errno := dir.Readdir(3)
		if errno != 0 {
			t.Fatal(errno)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			names = append(names, e.Name)
			if errno := o.Unlink(e.Name); errno != 0 { // as RemoveAll does
				t.Fatal(errno)
			}
		}
	}
	if len(names) != 10 || !slices.IsSorted(names) {
		t.Errorf("listed %q", names)
	}
	if _, errno := dir.Seek(0, 0); errno != 0 {
		t.Error(errno)
	}
	if rest, _ := dir.Readdir(-1); len(rest) > 0 {
		t.Errorf("after a rewind %v is left", rest)
	}
}
