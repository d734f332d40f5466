import java.io.FileOutputStream;
import java.io.OutputStream;
import javax.mail.Folder;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Store;

/** JavaMail: Read PROTOCOL PORT USER PASSWORD FOLDER writes each message of the inbox into the folder. */
public class Read {
    public static void main(String[] args) throws Exception {
        Session session = Session.getInstance(System.getProperties());
        Store store = session.getStore(args[0]);
        store.connect("127.0.0.1", Integer.parseInt(args[1]), args[2], args[3]);
        Folder inbox = store.getFolder("INBOX");
        inbox.open(Folder.READ_ONLY);
        for (Message message : inbox.getMessages()) {
            try (OutputStream out = new FileOutputStream(args[4] + "/" + message.getMessageNumber() + ".eml")) {
                message.writeTo(out);
            }
        }
        inbox.close(false);
        store.close();
    }
}
