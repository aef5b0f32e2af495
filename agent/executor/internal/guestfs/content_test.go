package guestfs

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestContent compares a file in chunks with a plain slice. The chunks come dirty from a deleted file.
func TestContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := &Chunks{}
		for range 3 {
			chunks.put(bytes.Repeat([]byte{0xee}, chunkSize))
		}
		var c content
		var model []byte
		place := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(chunkSize-50, chunkSize+50), rapid.IntRange(0, 4*chunkSize))
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				off, data := place.Draw(t, "offset"), bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, place.Draw(t, "length"))
				c.writeAt(data, int64(off), chunks)
				if grown := off + len(data) - len(model); grown > 0 {
					model = append(model, make([]byte, grown)...)
				}
				copy(model[off:], data)
			},
			"resize": func(t *rapid.T) {
				size := place.Draw(t, "size")
				c.resize(int64(size), chunks)
				if size > len(model) {
					model = append(model, make([]byte, size-len(model))...)
				}
				model = model[:size:size]
			},
			"read": func(t *rapid.T) {
				off, buf := place.Draw(t, "offset"), bytes.Repeat([]byte{0xdd}, place.Draw(t, "length"))
				n := c.readAt(buf, int64(off))
				want := model[min(off, len(model)):min(off+len(buf), len(model))]
				if !bytes.Equal(buf[:n], want) {
					t.Fatalf("read %d bytes at %d, expected %d others", n, off, len(want))
				}
			},
			"": func(t *rapid.T) {
				var whole []byte
				if err := c.pieces(func(p []byte) error { whole = append(whole, p...); return nil }); err != nil {
					t.Fatal(err)
				}
				if c.size != int64(len(model)) || !bytes.Equal(whole, model) {
					t.Fatalf("holds %d bytes (size %d), expected %d", len(whole), c.size, len(model))
				}
			},
		})
	})
}
