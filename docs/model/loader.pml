/* P4, P5, P10: the slot rows of a loader.
 *
 * Owners take the task one after the other, each with a higher term; a zombie is an earlier owner that is scheduled late. Each makes up to A
 * attempts. It applies the units 1..N, known to all from the log, in batches cut anew each time, on two connections at once; the commit of
 * the later one follows the answer to the earlier one. The server goes on with what it was sent when the sender is gone, aborts what it
 * likes, and connections are cut anywhere, so that outcomes are unknown.
 *
 * Options: CAUSAL  independent units may commit in any order (the slot row holds ranges)     LIVE  the last owner does not die
 *          LOSS    the target fails over once and loses its last commit (rows and slot row alike)
 * Broken on purpose: NO_EPOCH NO_COMPARE PIPELINED OUTSIDE READ_FIRST LATE_SLOTS MEMORY SAME_EPOCH
 */
#ifndef N
#define N 2
#endif
#ifndef S
#define S 2
#endif
#ifndef A
#define A 2
#endif
#ifndef CUTS
#define CUTS 1
#endif
#ifndef ABORTS
#define ABORTS 1
#endif
#define M 4                     /* server-side transactions alive at once */
#define NONE 9
#define ALL ((1 << (N+1)) - 2)
#define MASK(lo,hi) (((1 << ((hi)+1)) - 1) & ~((1 << (lo)) - 1))
#define UPTO(n) ((1 << ((n)+1)) - 2)

#define FREE 0
#define SENT 1                  /* on its way: nothing executed */
#define OPEN 2                  /* the slot's UPDATE is answered, its row lock held (when it matched); the rows are written */
#define DONE 3
#define GONE 4                  /* rolled back, and the client can know */
#define CUT 5                   /* over with its connection */

typedef Tx { byte st; byte slot; byte epoch; byte known; byte lo; byte hi; bool matched; bool commit; bool orphan };
Tx t[M];
byte epoch[2];                  /* lutra.slot as committed: (term, attempt) as one number, 0 where there is no row */
byte number[2];                 /* ... its number; with CAUSAL the set of units that went through it */
byte data;                      /* ghost: the units whose rows are in the target */
byte before, numbers[2];        /* what the last commit found */
byte cuts, aborts, losses;
bool fin[S];

#define LOCKED(k) ((t[0].st == OPEN && t[0].matched && t[0].slot == k) || (t[1].st == OPEN && t[1].matched && t[1].slot == k) || (t[2].st == OPEN && t[2].matched && t[2].slot == k) || (t[3].st == OPEN && t[3].matched && t[3].slot == k))
#ifdef CAUSAL
#define APPLIED (number[0] | number[1])
#define MOVED(i) (t[i].known | MASK(t[i].lo,t[i].hi))
#define BEFORE(lo) (lo == 3 -> 2 : 0)                      /* unit 3 needs unit 1; 2 stands alone */
#else
#define APPLIED (number[0] > number[1] -> UPTO(number[0]) : UPTO(number[1]))
#define MOVED(i) t[i].hi
#define BEFORE(lo) UPTO(lo-1)
#endif
#ifdef NO_EPOCH
#define MINE(i) true
#else
#define MINE(i) (epoch[t[i].slot] == t[i].epoch)
#endif
#ifdef NO_COMPARE
#define KNOWN(i) true
#else
#define KNOWN(i) (number[t[i].slot] == t[i].known)
#endif

#define wipe(i) t[i].st = FREE; t[i].slot = 0; t[i].epoch = 0; t[i].known = 0; t[i].lo = 0; t[i].hi = 0; t[i].matched = 0; t[i].commit = 0; t[i].orphan = 0

proctype Server(byte i) {
    end: do
    :: atomic { t[i].st == SENT && !LOCKED(t[i].slot) && (!t[i].orphan || t[i].commit) ->
#ifdef LATE_SLOTS
            if :: epoch[t[i].slot] == 0 -> epoch[t[i].slot] = t[i].epoch; number[t[i].slot] = t[i].known :: else fi;
#endif
            t[i].matched = (MINE(i) && KNOWN(i)); t[i].st = OPEN }
    :: atomic { t[i].st == OPEN && t[i].commit ->           /* a row update that matched nothing is no error: COMMIT commits the rest */
            assert(!(data & MASK(t[i].lo,t[i].hi)));                                      /* not twice */
            assert((data & BEFORE(t[i].lo)) == BEFORE(t[i].lo));                          /* in order, none skipped */
            before = data; numbers[0] = number[0]; numbers[1] = number[1];
            data = data | MASK(t[i].lo,t[i].hi);
#ifndef OUTSIDE
            if :: t[i].matched -> number[t[i].slot] = MOVED(i) :: else fi;
#endif
            t[i].matched = 0; t[i].st = DONE }
    :: atomic { (t[i].st == SENT || t[i].st == OPEN) && t[i].orphan -> t[i].matched = 0; t[i].st = CUT }    /* notices the dead peer */
    :: atomic { t[i].st == OPEN && t[i].matched && !t[i].orphan && aborts < ABORTS -> aborts++; t[i].matched = 0; t[i].st = GONE }
    :: atomic { t[i].orphan && t[i].st >= DONE -> wipe(i) }
    od
}

#ifdef LIVE
#define MORTAL (s != S-1)
#else
#define MORTAL true
#endif
#define leave(x) if :: x != NONE -> t[x].orphan = 1; x = NONE :: else fi
#define CRASH atomic { MORTAL -> leave(a); leave(b); goto out }
#define ROOM (t[0].st == FREE || t[1].st == FREE || t[2].st == FREE || t[3].st == FREE)

inline look() {                 /* what the slot rows say */
    x[0] = number[0]; x[1] = number[1]; todo = ALL & ~APPLIED
}
inline send(x_, k) {            /* a batch: one unit, or two that follow one another */
    x_ = 0; do :: t[x_].st != FREE -> x_++ :: else -> break od;
    i = 1; do :: !(todo & (1 << i)) -> i++ :: else -> break od;
    t[x_].st = SENT; t[x_].slot = k; t[x_].epoch = e; t[x_].known = x[k]; t[x_].lo = i; t[x_].hi = i;
    if :: true :: todo & (1 << (i+1)) -> t[x_].hi = i+1 fi;
    todo = todo & ~MASK(t[x_].lo,t[x_].hi);
#ifdef PIPELINED
    t[x_].commit = 1;
#endif
    i = 0
}
#define redo(x_) todo = todo | MASK(t[x_].lo,t[x_].hi)

proctype Loader(byte s) {
    byte e, a = NONE, b = NONE, i, tries, todo, x[2], seen;
again:
    seen = losses;
    if :: tries == A -> goto out :: else fi;
#ifdef SAME_EPOCH
    tries++; e = tries;
#else
    tries++; e = s*A + tries;
#endif
#ifdef READ_FIRST
    atomic { look() };
#endif
    if                          /* P5: one target transaction raises all rows, makes the missing ones, commits, then reads */
    :: atomic { seen != losses -> goto again }
    :: atomic { seen == losses && !LOCKED(0) && !LOCKED(1) ->
#ifdef SAME_EPOCH
        if :: epoch[0] > e -> goto out :: else fi;
#else
        if :: epoch[0] >= e -> goto out :: else fi;
#endif
        epoch[0] = e;
#ifdef LATE_SLOTS
        if :: epoch[1] > 0 -> epoch[1] = e :: else fi
#else
        epoch[1] = e
#endif
#ifndef READ_FIRST
        ; look()                /* nothing of an older epoch commits any more: as good as a moment later */
#endif
       }
    :: CRASH
    fi;
    do
    :: atomic { a == NONE && b == NONE && !todo && seen == losses -> fin[s] = 1; break }
    :: atomic { a == NONE && b == NONE && seen != losses -> seen = losses;             /* an idle connection that is gone */
#ifndef MEMORY
        goto again
#endif
       }
    :: atomic { a == NONE && b == NONE && todo && ROOM && seen == losses -> if :: send(a, 0) :: send(a, 1) fi }
    :: atomic { a != NONE && b == NONE && todo && ROOM && seen == losses -> send(b, 1-t[a].slot) }
    :: atomic { a != NONE && t[a].st == OPEN && t[a].matched && !t[a].commit -> t[a].commit = 1 }
#ifdef CAUSAL                   /* 2 need not wait for 1 */
    :: atomic { b != NONE && t[b].st == OPEN && t[b].matched && !t[b].commit && t[b].lo == 2 && t[b].hi == 2 -> t[b].commit = 1 }
    :: atomic { b != NONE && t[b].st == DONE -> x[t[b].slot] = MOVED(b); wipe(b); b = NONE }
#endif
    :: atomic { a != NONE && t[a].st == DONE ->
#ifdef OUTSIDE
        i = a };
       if :: atomic { number[t[i].slot] = MOVED(i); i = 0 } :: CRASH fi;
       atomic {
#endif
        x[t[a].slot] = MOVED(a); wipe(a); a = b; b = NONE }
    :: atomic { a != NONE && t[a].st == GONE -> redo(a); wipe(a); a = NONE; if :: b != NONE -> redo(b); t[b].orphan = 1; b = NONE :: else fi;
#ifdef CAUSAL
        goto again              /* what became of b is not known */
#endif
       }
    :: atomic { b != NONE && t[b].st == GONE -> redo(b); wipe(b); b = NONE }
    :: atomic { a != NONE && t[a].st == OPEN && !t[a].matched && !t[a].commit -> leave(a); leave(b); goto again }   /* not ours any more, or not known */
    :: atomic { b != NONE && t[b].st == OPEN && !t[b].matched && !t[b].commit -> leave(a); leave(b); goto again }
    :: atomic { a != NONE && ((t[a].st < DONE && cuts < CUTS) || t[a].st == CUT || (b != NONE && t[b].st == CUT)) ->
        if :: t[a].st < DONE && (b == NONE || t[b].st != CUT) -> cuts++ :: else fi;
#ifdef MEMORY                   /* goes on from where it believes to be */
        redo(a); if :: b != NONE -> redo(b) :: else fi;
        leave(a); leave(b)
#else
        leave(a); leave(b); goto again
#endif
       }
    :: CRASH
    od;
out: skip
}

#ifdef LOSS
proctype Target() {             /* fails over to a server that has not seen the last commit; every connection is gone */
    if
    :: atomic { data != before && !fin[0] && !fin[S-1] -> losses++; data = before; number[0] = numbers[0]; number[1] = numbers[1];
        byte i; do :: i < M -> if :: t[i].st != FREE -> t[i].st = CUT; t[i].matched = 0 :: else fi; i++ :: else -> break od }
    :: true
    fi
}
#endif

init {
    byte s;
    atomic { do :: s < M -> run Server(s); s++ :: else -> break od; s = 0;
#ifdef LOSS
             run Target();
#endif
             do :: s < S -> run Loader(s); s++ :: else -> break od };
    timeout ->                  /* every run is finite: liveness is a property of its last state */
    if :: fin[0] || fin[S-1] -> assert(data == ALL) :: else fi;         /* whoever finishes finds everything there */
#ifdef LIVE
    assert(fin[S-1])
#endif
}
