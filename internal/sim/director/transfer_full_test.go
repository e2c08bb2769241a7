package director

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

func TestUploadThatCannotBeStored(t *testing.T) {
	t.Parallel()
	on := func(err error) error { return &fs.PathError{Op: "write", Path: "/var/spool/0", Err: err} }
	for _, c := range []struct {
		name   string
		err    error
		status int
		text   string
	}{
		{"a full disk", on(syscall.ENOSPC), http.StatusInsufficientStorage, "no space is left"},
		{"a full disk, and the file is closed", errors.Join(on(syscall.EDQUOT), nil), http.StatusInsufficientStorage, "no space is left"},
		{"a broken disk", on(syscall.EIO), http.StatusInternalServerError, "input/output error"},
		{"a client that goes away", io.ErrUnexpectedEOF, http.StatusBadRequest, "broke off after 7 bytes"},
	} {
		var e *apiError
		if err := notStored("disk.vmdk", 7, c.err); !errors.As(err, &e) || e.status != c.status || !strings.Contains(e.message, c.text) {
			t.Errorf("%s: got %v", c.name, err)
		} else if strings.Contains(e.message, "/var") {
			t.Errorf("%s: tells a path: %s", c.name, e.message)
		}
	}
}
