// Package limits keeps clients from asking too often.
package limits

import (
	"sync"
	"time"
)

// Bucket holds tokens, of which every request takes one. It is filled at a steady rate.
type Bucket struct {
	mutex    sync.Mutex
	tokens   float64
	capacity float64
	rate     float64
	last     time.Time
}

// NewBucket returns a full bucket.
func NewBucket(capacity, perSecond float64) *Bucket {
	return &Bucket{tokens: capacity, capacity: capacity, rate: perSecond, last: time.Now()}
}

// Take reports whether a request may pass at this moment.
func (b *Bucket) Take() bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.refill(time.Now())
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Wait says how long a caller has to be patient until the next token is there.
func (b *Bucket) Wait() time.Duration {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.refill(time.Now())
	if b.tokens >= 1 {
		return 0
	}
	return time.Duration((1 - b.tokens) / b.rate * float64(time.Second))
}

func (b *Bucket) refill(now time.Time) {
	b.tokens += now.Sub(b.last).Seconds() * b.rate
	if b.tokens > b.capacity {
		b.tokens = b.capacity
	}
	b.last = now
}
