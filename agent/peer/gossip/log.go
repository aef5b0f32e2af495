package gossip

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// maxWarnings is how many lines a minute memberlist may write at level Warn: it writes one for each packet
// that it cannot decrypt, and anybody on the network can send those.
const maxWarnings = 10

// logWriter turns memberlist's lines into records. Warnings over the limit become debug records.
type logWriter struct {
	log *slog.Logger

	mu     sync.Mutex // guards everything below
	minute time.Time
	warned int
}

// Write takes one line such as "[WARN] memberlist: text".
func (w *logWriter) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelDebug
	if strings.HasPrefix(text, "[WARN]") || strings.HasPrefix(text, "[ERR]") {
		level = w.warning(time.Now())
	}
	if w.log.Enabled(context.Background(), level) {
		if _, rest, ok := strings.Cut(text, "memberlist: "); ok {
			text = rest
		}
		w.log.Log(context.Background(), level, "memberlist", "says", text)
	}
	return len(line), nil
}

func (w *logWriter) warning(now time.Time) slog.Level {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.minute) >= time.Minute {
		w.minute, w.warned = now, 0
	}
	if w.warned++; w.warned > maxWarnings {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}
