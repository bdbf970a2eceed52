/* P6: one statement that commits by itself and is not idempotent (a swap by RENAME, EXCHANGE PARTITION, ADD INDEX without a name).
 * Two owners; each raises the epoch, settles an open intent by comparing definitions, runs, writes the done row; each crashes or is late anywhere.
 * default: an intent alone.  SAMEDEF: the definition is the same before and after.  LOCK (the way elsewhere): epoch raised, and the statement run, only by the connection that
 * holds the named lock (dead connection = statement never sent).  GTID (MySQL): it runs under a GTID made of the slot row's uuid and n. */
bool intent, done, gtid; byte runs, epoch, holder;
#ifdef SAMEDEF
#define RAN false               /* what the comparison sees */
#else
#define RAN (runs > 0)
#endif
proctype Owner(byte e) {
#ifdef LOCK
    if :: atomic { holder == 0 || holder < e -> holder = e } :: goto out fi;     /* got, or the holder's connection was killed */
#endif
    if :: atomic { epoch < e -> epoch = e } :: atomic { epoch >= e -> goto out } :: goto out fi;
    if :: done -> goto out
       :: !done && intent && RAN -> goto ran
       :: else fi;
    if :: atomic { epoch == e -> intent = 1 } :: atomic { epoch != e -> goto out } :: goto out fi;
    /* the epoch was right; now the statement goes out, whenever that is */
    if
#ifdef LOCK
    :: atomic { holder == e -> runs++; assert(runs == 1) } :: atomic { holder != e -> goto out }
#elif defined(GTID)
    :: atomic { if :: !gtid -> gtid = 1; runs++; assert(runs == 1) :: else fi }
#else
    :: atomic { runs++; assert(runs == 1) }
#endif
    :: goto out
    fi;
ran: if :: atomic { epoch == e -> done = 1; assert(runs == 1) } :: atomic { epoch != e -> goto out } :: goto out fi;
out: skip
}
init { atomic { run Owner(1); run Owner(2) } }
