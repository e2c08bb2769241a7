package nbd

import (
	"errors"
	"fmt"
)

// ErrDisconnected says that the connection is gone, or that the server broke
// the protocol. Nothing more is to be had of this Client.
var ErrDisconnected = errors.New("NBD connection is lost")

// ErrTimeout says that the server left a request unanswered for too long.
// Nothing more is to be had of this Client.
var ErrTimeout = errors.New("NBD server does not answer")

// ErrClosed says that Close was called before.
var ErrClosed = errors.New("NBD client is closed")

// A Code is an error number of the protocol.
type Code uint32

// The error numbers that the protocol names.
const (
	EPERM     Code = 1
	EIO       Code = 5
	ENOMEM    Code = 12
	EINVAL    Code = 22
	ENOSPC    Code = 28
	EOVERFLOW Code = 75
	ENOTSUP   Code = 95
	ESHUTDOWN Code = 108
)

// String returns the name in words.
func (c Code) String() string {
	switch c {
	case EPERM:
		return "operation not permitted"
	case EIO:
		return "input/output error"
	case ENOMEM:
		return "out of memory"
	case EINVAL:
		return "invalid argument"
	case ENOSPC:
		return "no space left"
	case EOVERFLOW:
		return "value too large"
	case ENOTSUP:
		return "not supported"
	case ESHUTDOWN:
		return "server is shutting down"
	}
	return fmt.Sprintf("error %d", uint32(c))
}

// An Error is a refusal of one request. The connection goes on.
type Error struct {
	Code    Code
	Message string // what the server added; may be empty
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// A Refusal is what a server answers to an option of the negotiation that it
// does not grant. No disk is open then.
type Refusal struct {
	Code    uint32 // NBD_REP_ERR_* of the protocol: 6, for one, is an unknown export
	Message string // what the server added; may be empty
}

func (r *Refusal) Error() string {
	what := fmt.Sprintf("server answers with error %d", r.Code)
	switch r.Code | repError {
	case repErrUnsup:
		what = "server does not know how"
	case repErrPolicy:
		what = "server's policy forbids it"
	case repErrInvalid:
		what = "server calls the request invalid"
	case repErrTLSReqd:
		what = "server wants TLS"
	case repErrUnknown:
		what = "server does not have it"
	case repErrShutdown:
		what = "server is shutting down"
	case repErrBlockSize:
		what = "server wants its block sizes obeyed"
	case repErrTooBig:
		what = "server calls the request too big"
	}
	if r.Message == "" {
		return what
	}
	return what + ": " + r.Message
}

// broken is an ErrDisconnected for an answer that the protocol forbids.
func broken(format string, args ...any) error {
	return fmt.Errorf("%w: server broke the protocol: %s", ErrDisconnected, fmt.Sprintf(format, args...))
}
