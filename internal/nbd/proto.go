// Package nbd reads and writes disks over the Network Block Device protocol,
// as a client and as a server.
//
// It speaks the fixed newstyle of
// https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md with
// structured replies, block status (base:allocation) and STARTTLS. Neither
// side trusts the other: whatever a peer sends that the protocol does not
// allow ends the connection with an error, and what it makes us hold in
// memory is bounded.
package nbd

import (
	"encoding/binary"
	"math"
)

// What both sides send first, and at the head of options, requests and replies.
const (
	magicInit       = 0x4e42444d41474943 // NBDMAGIC
	magicOption     = 0x49484156454f5054 // IHAVEOPT
	magicOptReply   = 0x0003e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Flags of the handshake; those of the client have the values of the server's.
const (
	flagFixedNewstyle = 1 << iota
	flagNoZeroes
)

// Options of the negotiation.
const (
	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optStartTLS        = 5
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10
)

// Replies to options.
const (
	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMetaContext = 4

	repError         = 1 << 31 // all errors have this bit
	repErrUnsup      = repError + 1
	repErrPolicy     = repError + 2
	repErrInvalid    = repError + 3
	repErrTLSReqd    = repError + 5
	repErrUnknown    = repError + 6
	repErrShutdown   = repError + 7
	repErrBlockSize  = repError + 8
	repErrTooBig     = repError + 9
	repErrExtHeaders = repError + 10
)

// What a server tells of an export.
const (
	infoExport      = 0
	infoName        = 1
	infoDescription = 2
	infoBlockSize   = 3
)

// Transmission flags.
const (
	canFlags = 1 << iota // the others mean something
	canNotWrite
	canFlush
	canFUA
	rotational
	canTrim
	canWriteZeroes
	canDF
	canMultiConn
	canResize
	canCache
	canFastZero
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

// Flags of commands.
const (
	cmdFlagFUA = 1 << iota
	cmdFlagNoHole
	cmdFlagDF
	cmdFlagReqOne
	cmdFlagFastZero
)

// Chunks of structured replies.
const (
	chunkDone = 1 // the flag of the last chunk

	chunkNone        = 0
	chunkData        = 1
	chunkHole        = 2
	chunkBlockStatus = 5
	chunkAnyError    = 1 << 15 // all errors have this bit
	chunkError       = chunkAnyError + 1
	chunkErrorOffset = chunkAnyError + 2
)

// The states of base:allocation.
const (
	stateHole = 1 << iota
	stateZero

	contextAllocation = "base:allocation"
)

const (
	// maxString is what the protocol allows names and messages.
	maxString = 4096
	// maxPayload is what every server must take without having told its
	// block sizes.
	maxPayload = 32 << 20
	// maxMinBlock is the largest minimum block size that the protocol allows.
	maxMinBlock = 64 << 10

	optionHeaderSize   = 16
	optReplyHeaderSize = 20
	requestSize        = 28
	simpleSize         = 16
	structuredSize     = 20
)

var big = binary.BigEndian

// A request is the header of a command.
type request struct {
	flags  uint16
	cmd    uint16
	cookie uint64
	off    uint64
	length uint32
}

// put writes r into b, which holds requestSize bytes.
func (r request) put(b []byte) {
	big.PutUint32(b, magicRequest)
	big.PutUint16(b[4:], r.flags)
	big.PutUint16(b[6:], r.cmd)
	big.PutUint64(b[8:], r.cookie)
	big.PutUint64(b[16:], r.off)
	big.PutUint32(b[24:], r.length)
}

// parseRequest reads what put wrote.
func parseRequest(b []byte) (r request, ok bool) {
	return request{
		flags:  big.Uint16(b[4:]),
		cmd:    big.Uint16(b[6:]),
		cookie: big.Uint64(b[8:]),
		off:    big.Uint64(b[16:]),
		length: big.Uint32(b[24:]),
	}, big.Uint32(b) == magicRequest
}

// A chunk is the header of a part of a structured reply.
type chunk struct {
	flags  uint16
	kind   uint16
	cookie uint64
	length uint32 // of what follows
}

func (c chunk) done() bool { return c.flags&chunkDone != 0 }

// put writes c into b, which holds structuredSize bytes.
func (c chunk) put(b []byte) {
	big.PutUint32(b, magicStructured)
	big.PutUint16(b[4:], c.flags)
	big.PutUint16(b[6:], c.kind)
	big.PutUint64(b[8:], c.cookie)
	big.PutUint32(b[16:], c.length)
}

// parseChunk reads what put wrote behind the magic.
func parseChunk(b []byte) chunk {
	return chunk{
		flags:  big.Uint16(b[4:]),
		kind:   big.Uint16(b[6:]),
		cookie: big.Uint64(b[8:]),
		length: big.Uint32(b[16:]),
	}
}

// An export is what a server tells of a disk.
type export struct {
	size                     int64
	flags                    uint16
	minBlock, prefBlock, max int64 // bytes; max is that of a payload
	// What was agreed on.
	structured bool
	allocation bool   // base:allocation may be asked for
	contextID  uint32 // of base:allocation
}

// can reports whether all the given transmission flags are set.
func (e *export) can(flags uint16) bool { return e.flags&flags == flags }

// blockSizes takes over what a server says of its block sizes. Numbers that
// the protocol forbids are refused.
func (e *export) blockSizes(least, preferred, most uint32) bool {
	power := func(n uint32) bool { return n != 0 && n&(n-1) == 0 }
	if !power(least) || least > maxMinBlock || !power(preferred) || preferred < least || most < preferred {
		return false
	}
	if most != math.MaxUint32 && most%least != 0 {
		return false
	}
	e.minBlock, e.prefBlock, e.max = int64(least), int64(preferred), int64(most)
	return true
}

// appendString appends s with its length in front.
func appendString(b []byte, s string) []byte {
	return append(big.AppendUint32(b, uint32(len(s))), s...)
}

// cutString reads what appendString wrote, and returns what follows.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	n := big.Uint32(b)
	if n > maxString || int(n) > len(b)-4 {
		return "", nil, false
	}
	return string(b[4 : 4+n]), b[4+n:], true
}
