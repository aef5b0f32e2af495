//go:build !unix

package durable

import "os"

// SyncFolder does nothing where a folder cannot be synced: Windows refuses to flush a folder's handle, and
// NTFS keeps renames in its own journal.
func SyncFolder(*os.Root, string) error { return nil }
