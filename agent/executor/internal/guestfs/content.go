package guestfs

import "slices"

// chunkSize is the grain in which files of /out take memory.
const chunkSize = 16 << 10

// Chunks keeps the memory of deleted files for the next ones. Without it a guest that rewrites a file over
// and over would fill the heap, since there is no garbage collection while a guest computes.
type Chunks struct{ free [][]byte }

func (c *Chunks) get() []byte {
	n := len(c.free)
	if n == 0 {
		return make([]byte, chunkSize)
	}
	chunk := c.free[n-1]
	c.free = c.free[:n-1]
	clear(chunk)
	return chunk
}

func (c *Chunks) put(chunk []byte) {
	if chunk != nil {
		c.free = append(c.free, chunk)
	}
}

// content is the bytes of a file. A nil chunk is zeros, and what the last chunk holds past the size is zeros.
type content struct {
	chunks [][]byte
	size   int64
}

// readAt copies what there is at off.
func (c *content) readAt(buf []byte, off int64) int {
	if off >= c.size {
		return 0
	}
	buf = buf[:min(int64(len(buf)), c.size-off)]
	for done := 0; done < len(buf); {
		index, start := (off+int64(done))/chunkSize, (off+int64(done))%chunkSize
		part := buf[done:min(len(buf), done+chunkSize-int(start))]
		if chunk := c.chunks[index]; chunk != nil {
			copy(part, chunk[start:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return len(buf)
}

// writeAt writes at off and grows the file as needed.
func (c *content) writeAt(buf []byte, off int64, from *Chunks) {
	c.resize(max(c.size, off+int64(len(buf))), from)
	for len(buf) > 0 {
		index, start := off/chunkSize, off%chunkSize
		if c.chunks[index] == nil {
			c.chunks[index] = from.get()
		}
		n := copy(c.chunks[index][start:], buf)
		buf, off = buf[n:], off+int64(n)
	}
}

// resize cuts the file or adds zeros.
func (c *content) resize(size int64, from *Chunks) {
	count := int((size + chunkSize - 1) / chunkSize)
	if count > len(c.chunks) {
		c.chunks = append(slices.Grow(c.chunks, count-len(c.chunks)), make([][]byte, count-len(c.chunks))...)
	}
	for i := count; i < len(c.chunks); i++ {
		from.put(c.chunks[i])
		c.chunks[i] = nil
	}
	c.chunks = c.chunks[:count]
	if size < c.size && size%chunkSize != 0 && c.chunks[count-1] != nil {
		clear(c.chunks[count-1][size%chunkSize:])
	}
	c.size = size
}

// pieces calls do with the bytes in order, at most a chunk at a time.
func (c *content) pieces(do func([]byte) error) error {
	zeros := []byte(nil)
	for i, chunk := range c.chunks {
		if chunk == nil {
			if zeros == nil {
				zeros = make([]byte, chunkSize)
			}
			chunk = zeros
		}
		if err := do(chunk[:min(chunkSize, c.size-int64(i)*chunkSize)]); err != nil {
			return err
		}
	}
	return nil
}
