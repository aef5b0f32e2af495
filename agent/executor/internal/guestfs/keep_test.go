package guestfs

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	experimentalsys "github.com/tetratelabs/wazero/experimental/sys"
)

// TestRestore copies file systems of random content node by node, as checkpoints do.
func TestRestore(t *testing.T) {
	quota := Quota{Bytes: 1 << 20, Files: 30}
	rapid.Check(t, func(t *rapid.T) {
		var chunks Chunks
		from := NewOut(quota, new(Session), &chunks)
		for range rapid.IntRange(0, 25).Draw(t, "steps") {
			path := rapid.SampledFrom([]string{"a", "b", "a/c", "a-b", "b/d", "b/d/e", "f"}).Draw(t, "path")
			other := rapid.SampledFrom([]string{"a", "b/g", "a/h", "z"}).Draw(t, "other")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				from.Mkdir(path, 0)
			case 1:
				from.Rename(path, other)
			case 2:
				from.Unlink(path)
			default:
				if f, errno := from.OpenFile(path, experimentalsys.O_CREAT|experimentalsys.O_RDWR, 0); errno == 0 {
					f.Pwrite([]byte(path), rapid.Int64Range(0, 70_000).Draw(t, "offset"))
					f.Close()
				}
			}
		}
		to := NewOut(quota, new(Session), &chunks)
		if err := to.Restore(from.Nodes(), from.LastIno()); err != nil {
			t.Fatal(err)
		}
		for i, n := range to.Nodes() {
			buf := make([]byte, n.Size)
			from.Nodes()[i].ReadAt(buf, 0)
			to.Write(n, buf, 0)
		}
		if got, want := dump(to), dump(from); got != want {
			t.Fatalf("restored %s, expected %s", got, want)
		}
	})
}

func dump(o *Out) string {
	text := fmt.Sprint(o.LastIno(), o.bytes, o.files)
	for _, n := range o.Nodes() {
		buf := make([]byte, n.Size)
		n.ReadAt(buf, 0)
		text += fmt.Sprintf(" %s %d %v %q", n.Path, n.Ino, n.Dir, buf)
	}
	return text
}

// TestRestoreRefuses checks nodes that no file system has.
func TestRestoreRefuses(t *testing.T) {
	tests := map[string][]Node{
		"no folder":       {{Path: "a/b", Ino: 2}},
		"file as folder":  {{Path: "a", Ino: 2}, {Path: "a/b", Ino: 3}},
		"twice":           {{Path: "a", Ino: 2}, {Path: "a", Ino: 3}},
		"the root":        {{Path: ".", Ino: 2}},
		"the root's":      {{Path: "a", Ino: 1}},
		"beyond the last": {{Path: "a", Ino: 10}},
		"too large":       {{Path: "a", Ino: 2, Size: 101}},
		"too many":        {{Path: "a", Ino: 2}, {Path: "b", Ino: 3}, {Path: "c", Ino: 4}},
		"a slash":         {{Path: "a/", Ino: 2}},
	}
	for name, nodes := range tests {
		o := NewOut(Quota{Bytes: 100, Files: 2}, new(Session), new(Chunks))
		if err := o.Restore(nodes, 9); err == nil {
			t.Errorf("%s: restored", name)
		}
	}
}

// TestOpenRoots checks that the roots, which wazero opens for itself, do not count as open, and all else does.
func TestOpenRoots(t *testing.T) {
	s := new(Session)
	o := NewOut(Quota{Bytes: 100, Files: 2}, s, new(Chunks))
	first, _ := o.OpenFile(".", 0, 0)
	if s.Open() != 0 {
		t.Error("wazero's own root counts")
	}
	second, _ := o.OpenFile(".", 0, 0)
	if s.Open() != 1 {
		t.Error("a root that the guest opened does not count")
	}
	if second.Close(); s.Open() != 0 {
		t.Error("a root that was closed counts")
	}
	if first.Close(); s.Open() != 1 {
		t.Error("a guest without its root would have it again")
	}
}
