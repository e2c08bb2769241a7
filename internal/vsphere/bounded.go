package vsphere

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxAnswer is how much one answer of vCenter's API may hold, in bytes. The
// lists that are asked for come in pages of some MiB.
var maxAnswer int64 = 256 << 20 // a test lowers it

// errTooLarge says that an answer is larger than any that makes sense.
var errTooLarge = errors.New("the answer is too large")

// bounded cuts off what claims to be an answer of the API and does not end:
// what is parsed is held in memory. Disks and files, which may be of any
// size, come through other clients.
type bounded struct {
	http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if strings.Contains(res.Header.Get("Content-Type"), "xml") {
		res.Body = &boundedBody{ReadCloser: res.Body, left: b.most, most: b.most}
	}
	return res, nil
}

type boundedBody struct {
	io.ReadCloser
	left, most int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// It may end just here.
		n, err := b.ReadCloser.Read(make([]byte, 1))
		if n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("%w: more than %d bytes", errTooLarge, b.most)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
